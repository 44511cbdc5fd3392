//! Statements that are admitted, beyond what SeaORM renders by itself; how each is rewritten stands in
//! `accepted.txt`.

use super::*;

/// For both databases; `$n` becomes `?` for SQLite.
pub(super) const BOTH: &[&str] = &[
    // Names.
    "SELECT id, name FROM cake",
    "SELECT ID, Name FROM CAKE",
    r#"SELECT "Order"."id" FROM "Order""#,
    "SELECT c.id FROM cake c",
    "SELECT c.* FROM cake AS c",
    "SELECT * FROM cake",
    "SELECT id AS key, name the_name FROM cake",
    r#"SELECT "select", "user", "Größe" FROM "cake""#,
    r#"SELECT "status"."status" FROM "status""#,
    r#"SELECT "id" FROM "status" ORDER BY "status""#,
    r#"SELECT count(*) FROM "status" GROUP BY "status""#,
    // Joins.
    "SELECT a.id FROM cake a, fruit b WHERE a.id = b.cake_id",
    "SELECT a.id FROM cake a JOIN cake b ON a.id = b.parent",
    "SELECT a.id FROM cake a LEFT OUTER JOIN fruit b ON a.id = b.cake_id AND b.ripe",
    "SELECT a.id FROM cake a NATURAL JOIN fruit b",
    "SELECT a.id FROM cake a JOIN fruit b USING (id, shop)",
    "SELECT a.id FROM cake a JOIN (fruit b JOIN country c ON b.country = c.code) ON a.id = b.cake_id",
    "SELECT a.id FROM (cake a LEFT JOIN fruit b ON a.id = b.cake_id)",
    "SELECT country.name, cake.name FROM country LEFT JOIN cake ON cake.country = country.code",
    // Queries in queries.
    "SELECT x.n FROM (SELECT count(*) AS n FROM cake) AS x",
    "SELECT x.a FROM (SELECT id, name FROM cake) AS x (a, b)",
    "SELECT (SELECT max(price) FROM cake)",
    "SELECT id FROM cake c WHERE price > (SELECT avg(price) FROM cake d WHERE d.shop = c.shop)",
    "SELECT id FROM cake c WHERE NOT EXISTS (SELECT 1 FROM fruit f WHERE f.cake_id = c.id)",
    "SELECT id FROM cake WHERE (id, shop) IN (SELECT cake_id, shop FROM fruit)",
    "SELECT id FROM cake ORDER BY (SELECT count(*) FROM fruit WHERE fruit.cake_id = cake.id) DESC LIMIT 3",
    "SELECT id FROM cake GROUP BY id HAVING count(*) > (SELECT count(*) FROM fruit)",
    "SELECT id FROM cake LIMIT (SELECT count(*) FROM fruit)",
    "SELECT CASE WHEN EXISTS (SELECT 1 FROM fruit) THEN 1 ELSE (SELECT 2 FROM cake) END",
    "SELECT sum(price) FILTER (WHERE id IN (SELECT cake_id FROM fruit)) FROM cake",
    "SELECT sum(price) OVER (PARTITION BY (SELECT count(*) FROM fruit)) FROM cake",
    "SELECT a.id FROM cake a JOIN fruit b ON b.id = (SELECT min(id) FROM fruit)",
    // Set operations and values.
    "SELECT id FROM cake UNION SELECT cake_id FROM fruit ORDER BY 1",
    "SELECT id FROM cake EXCEPT SELECT cake_id FROM fruit INTERSECT SELECT id FROM filling",
    "VALUES (1, 'a'), (2, 'b')",
    // Common table expressions.
    "WITH a AS (SELECT id FROM cake), b AS (SELECT id FROM a) SELECT b.id FROM b JOIN a ON a.id = b.id",
    "WITH a (x, y) AS (SELECT id, name FROM cake) SELECT x FROM a",
    "WITH a AS (SELECT id FROM cake) SELECT id FROM (WITH b AS (SELECT id FROM a) SELECT id FROM b) AS c",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10) SELECT i FROM n",
    "SELECT id FROM cake WHERE id IN (WITH a AS (SELECT cake_id FROM fruit) SELECT cake_id FROM a)",
    // Conditions and values.
    "SELECT id FROM cake WHERE 1 = 1 OR TRUE",
    "SELECT id FROM cake WHERE name = 'it''s' OR name = $1 OR NOT gluten_free",
    "SELECT id FROM cake WHERE name IS NOT NULL AND name NOT IN ('a', 'b') AND price NOT BETWEEN 1 AND 2",
    "SELECT id FROM cake WHERE name IS DISTINCT FROM $1",
    "SELECT -price, +price, ~id, price * 2 + 1 - 3 / 4 % 5, name || 'x', id << 1 | 2 & 3 FROM cake",
    "SELECT CAST($1 AS integer), CAST($2 AS varchar(10)), CAST($3 AS numeric(10, 2)), CAST($4 AS double precision)",
    "SELECT coalesce(name, 'x'), nullif(name, ''), substr(name, 1, 2), trim(name), replace(name, 'a', 'b') FROM cake",
    "SELECT - -1, - - -id, 1 - -1 FROM cake",
    "SELECT 1.5, .5, 1e3, -2, NULL, FALSE",
    "SELECT 'semicolon; -- and /* comment */ in text'",
    "SELECT CASE name WHEN 'a' THEN 1 WHEN 'b' THEN 2 END FROM cake",
    "SELECT lag(price, 1) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING) FROM cake",
    "SELECT name COLLATE nocase FROM cake",
    // Writes.
    "INSERT INTO cake (id, name) VALUES ($1, (SELECT name FROM fruit LIMIT 1))",
    "INSERT INTO cake (id) VALUES (1) ON CONFLICT DO NOTHING",
    "INSERT INTO cake (id) SELECT f.cake_id FROM fruit f WHERE true ON CONFLICT (id) DO UPDATE SET price = (SELECT max(price) FROM cake)",
    "INSERT INTO cake (id) WITH a AS (SELECT id FROM fruit) SELECT id FROM a",
    "INSERT INTO cake (id) VALUES (1) RETURNING id, (SELECT count(*) FROM fruit), *",
    "WITH a AS (SELECT 1 AS id) INSERT INTO cake (id) SELECT id FROM a",
    "UPDATE cake AS c SET price = price + 1 WHERE c.id = 1 OR 1 = 1",
    "UPDATE cake SET (name, price) = ($1, $2)",
    "UPDATE cake SET (name, price) = (SELECT name, price FROM fruit WHERE fruit.cake_id = cake.id)",
    "UPDATE cake SET price = f.price FROM fruit AS f JOIN filling AS g ON f.id = g.id WHERE f.cake_id = cake.id RETURNING cake.id",
    "WITH a AS (SELECT id FROM fruit) UPDATE cake SET price = 0 WHERE id IN (SELECT id FROM a)",
    "DELETE FROM cake AS c WHERE c.id = $1 OR c.name = $2 RETURNING c.*",
    "DELETE FROM cake WHERE EXISTS (SELECT 1 FROM fruit WHERE fruit.cake_id = cake.id)",
];

pub(super) const POSTGRES: &[&str] = &[
    "WITH a AS MATERIALIZED (SELECT id FROM cake) SELECT id FROM a",
    "INSERT INTO cake AS c (id, name) VALUES (1, 'a') ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE c.name <> 'b'",
    "SELECT id FROM cake JOIN country ON true FOR SHARE OF cake NOWAIT",
    "WITH a AS NOT MATERIALIZED (SELECT id FROM cake) SELECT id FROM a",
    "SELECT $2::text, $1::integer[], '{}'::jsonb, CAST('happy' AS mood)",
    "SELECT $1, $1, $2",
    "SELECT DATE '2020-01-01', TIMESTAMP '2020-01-01 00:00:00', INTERVAL '1 day', now() - $1::interval",
    "SELECT extract(epoch FROM now()), date_trunc('day', now()), now() AT TIME ZONE 'utc'",
    "SELECT ARRAY[1, 2], ARRAY(SELECT id FROM cake), (ARRAY[1, 2])[1], cake.tags[1:2] FROM cake",
    "SELECT data -> 'a' ->> 'b', data #> '{a}', data @> '{}', data ? 'a', data ?& ARRAY['a'] FROM cake",
    "SELECT x FROM generate_series(1, 3) AS x",
    "SELECT e.value FROM cake CROSS JOIN jsonb_array_elements(cake.data) AS e",
    "SELECT u FROM unnest($1::text[]) AS u",
    "SELECT f.name FROM cake, LATERAL (SELECT name FROM fruit WHERE fruit.cake_id = cake.id) AS f",
    "SELECT c.id FROM cake AS c FOR UPDATE OF c SKIP LOCKED",
    "SELECT id FROM cake WHERE id = ANY (SELECT cake_id FROM fruit) AND id <> ALL ($1)",
    "SELECT string_agg(name, ', ' ORDER BY name), percentile_cont(0.5) WITHIN GROUP (ORDER BY price) FROM cake",
    "SELECT shop, count(*) FROM cake GROUP BY ROLLUP (shop)",
    "SELECT name ~* '^a', name SIMILAR TO 'a%', name ILIKE 'a' FROM cake",
    "SELECT trim(BOTH 'x' FROM name), substring(name FROM 1 FOR 2), position('a' IN name), overlay(name PLACING 'x' FROM 1) FROM cake",
    "INSERT INTO cake (id, name) VALUES (DEFAULT, $1)",
    "UPDATE cake SET price = DEFAULT",
    "DELETE FROM cake USING fruit AS f WHERE f.cake_id = cake.id",
    r#"SELECT name COLLATE "de_DE" FROM cake"#,
];

pub(super) const SQLITE: &[&str] = &[
    "SELECT ? || ?",
    "SELECT name IS ?, name GLOB 'a*' FROM cake",
    "SELECT group_concat(name, ', ') FROM cake",
    "SELECT json_extract(data, '$.a'), data ->> 'a' FROM cake",
    "SELECT e.value FROM cake, json_each(cake.data) AS e",
    "SELECT strftime('%Y', 'now'), datetime('now'), unixepoch()",
    "SELECT name = '\\' FROM cake",
    r#"SELECT id FROM "ORDER""#,
    r#"SELECT "id", `name` FROM `cake`"#,
];

#[test]
fn what_is_understood_is_scoped() {
    let mut found = String::new();
    let mut admit = |dialect: Dialect, sql: &str| {
        found.push_str(&format!(
            "{dialect:?}\n    < {sql}\n    > {}\n",
            written(gate(dialect).admit(sql).as_deref())
        ));
    };
    for sql in BOTH {
        admit(Dialect::Postgres, sql);
        admit(Dialect::Sqlite, &for_sqlite(sql));
    }
    POSTGRES.iter().for_each(|sql| admit(Dialect::Postgres, sql));
    SQLITE.iter().for_each(|sql| admit(Dialect::Sqlite, sql));
    assert!(!found.contains("> send"), "{found}");
    expect("accepted.txt", &found);
}

#[test]
fn a_text_that_comes_again_is_answered_from_memory() {
    let gate = gate(Dialect::Postgres);
    let first = gate.admit("SELECT id FROM cake").unwrap();
    assert!(std::sync::Arc::ptr_eq(&first, &gate.admit("SELECT id FROM cake").unwrap()));
}

#[test]
fn as_many_values_fit_as_there_are_parameters() {
    let admitted = gate(Dialect::Postgres).admit("SELECT id FROM cake WHERE id = $1").unwrap();
    assert!(admitted.fits(1));
    // A second value would be taken for the tenant's id.
    assert!(!admitted.fits(2) && !admitted.fits(0));
}
