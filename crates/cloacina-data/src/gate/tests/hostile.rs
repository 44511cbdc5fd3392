//! Statements that are refused, and the part of each that the refusal names.

use super::*;

const BOTH: &[(&str, &str)] = &[
    // Statements that are none of the four.
    ("CREATE TABLE x (id integer)", "CREATE TABLE x (id INTEGER)"),
    ("ALTER TABLE cake ADD COLUMN x integer", "ALTER TABLE cake ADD COLUMN x INTEGER"),
    ("DROP TABLE cake", "DROP TABLE cake"),
    ("TRUNCATE cake", "TRUNCATE cake"),
    ("CREATE VIEW v AS SELECT * FROM cake", "CREATE VIEW v AS SELECT * FROM cake"),
    ("CREATE INDEX i ON cake (id)", "CREATE INDEX i ON cake(id)"),
    ("BEGIN", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("SAVEPOINT s", "SAVEPOINT s"),
    ("RELEASE SAVEPOINT s", "RELEASE SAVEPOINT s"),
    ("EXPLAIN SELECT id FROM cake", "EXPLAIN SELECT id FROM cake"),
    ("EXPLAIN ANALYZE DELETE FROM cake", "EXPLAIN ANALYZE DELETE FROM cake"),
    (
        "MERGE INTO cake USING fruit ON cake.id = fruit.id WHEN MATCHED THEN DELETE",
        "MERGE INTO cake USING fruit ON cake.id = fruit.id WHEN MATCHED THEN DELETE",
    ),
    ("GRANT SELECT ON cake TO public", "GRANT SELECT ON cake TO PUBLIC"),
    ("ANALYZE cake", "ANALYZE cake"),
    ("VACUUM", "VACUUM"),
    ("PRAGMA table_info(cake)", ")"),
    ("ATTACH DATABASE 'x.db' AS y", "ATTACH DATABASE '…' AS y"),
    ("DETACH DATABASE y", "DETACH"),
    ("REINDEX cake", "REINDEX"),
    ("TABLE cake", "TABLE"),
    ("SELECT FROM", "the end of the statement"),
    ("SELECT id FRO cake WHERE", "cake WHERE"),
    // Several in one.
    ("SELECT 1; SELECT 2", ";"),
    ("SELECT 1;", ";"),
    ("SELECT id FROM cake; DROP TABLE cake", ";"),
    ("SELECT id FROM cake SELECT id FROM fruit", "SELECT id FROM fruit"),
    // Comments and quotings.
    ("SELECT id FROM cake -- WHERE", "a comment"),
    ("SELECT id /* all */ FROM cake", "a comment"),
    ("SELECT /*+ hint */ id FROM cake", "a comment"),
    ("SELECT 'no end", "…"),
    (r#"SELECT "no end FROM cake"#, "…"),
    ("SELECT X'00ff'", "'…'"),
    (r#"SELECT "a""b" FROM cake"#, "…"),
    (r#"SELECT "a\b" FROM cake"#, "…"),
    (r#"SELECT "" FROM cake"#, r#""""#),
    ("SELECT Größe FROM cake", "Größe"),
    (
        r#"SELECT "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg" FROM cake"#,
        r#""aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg""#,
    ),
    ("SELECT ''''''", "SELECT '…'"),
    // The tenant's column.
    ("SELECT tenant_id FROM cake", "tenant_id"),
    (r#"SELECT "tenant_id" FROM cake"#, r#""tenant_id""#),
    ("SELECT TENANT_ID FROM cake", "TENANT_ID"),
    (r#"SELECT "Tenant_Id" FROM cake"#, r#""Tenant_Id""#),
    ("SELECT cake.tenant_id FROM cake", "tenant_id"),
    (r#"SELECT "cake"."tenant_id" FROM "cake""#, r#""tenant_id""#),
    ("SELECT id AS tenant_id FROM cake", "tenant_id"),
    ("SELECT id FROM cake WHERE tenant_id = 'b' OR 1 = 1", "tenant_id"),
    ("SELECT id FROM cake ORDER BY tenant_id", "tenant_id"),
    ("SELECT id FROM cake GROUP BY tenant_id", "tenant_id"),
    ("SELECT id FROM cake AS tenant_id", "tenant_id"),
    ("SELECT tenant_id.id FROM cake AS tenant_id", "tenant_id"),
    ("SELECT x.a FROM (SELECT id FROM cake) AS x (tenant_id)", "tenant_id"),
    ("WITH a (tenant_id) AS (SELECT id FROM cake) SELECT 1 FROM a", "tenant_id"),
    ("WITH tenant_id AS (SELECT id FROM cake) SELECT 1 FROM tenant_id", "tenant_id"),
    ("SELECT a.id FROM cake a JOIN fruit b USING (tenant_id)", "tenant_id"),
    ("SELECT a.id FROM cake a JOIN fruit b ON a.id = b.id AND a.tenant_id <> b.tenant_id", "tenant_id"),
    ("SELECT count(tenant_id) FROM cake", "tenant_id"),
    ("SELECT count(*) OVER (PARTITION BY tenant_id) FROM cake", "tenant_id"),
    ("SELECT count(*) OVER w FROM cake WINDOW w AS (ORDER BY tenant_id)", "tenant_id"),
    ("SELECT count(*) OVER tenant_id FROM cake", "tenant_id"),
    ("SELECT id FROM cake WHERE id IN (SELECT id FROM fruit WHERE tenant_id = 'b')", "tenant_id"),
    ("INSERT INTO cake (id, tenant_id) VALUES (1, 'b')", "tenant_id"),
    (r#"INSERT INTO cake (id, "TENANT_ID") VALUES (1, 'a')"#, r#""TENANT_ID""#),
    ("INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET tenant_id = 'b'", "tenant_id"),
    ("INSERT INTO cake (id) VALUES (1) ON CONFLICT (id, tenant_id) DO NOTHING", "tenant_id"),
    (
        "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2 WHERE excluded.tenant_id = 'b'",
        "tenant_id",
    ),
    ("INSERT INTO cake (id) VALUES (1) RETURNING tenant_id", "tenant_id"),
    ("UPDATE cake SET tenant_id = 'b'", "tenant_id"),
    ("UPDATE cake SET (name, tenant_id) = ('x', 'b')", "tenant_id"),
    ("UPDATE cake SET name = tenant_id", "tenant_id"),
    ("UPDATE cake SET name = 'x' WHERE tenant_id = 'b'", "tenant_id"),
    ("UPDATE cake SET name = 'x' RETURNING tenant_id", "tenant_id"),
    ("DELETE FROM cake WHERE tenant_id = 'b'", "tenant_id"),
    ("DELETE FROM cake RETURNING cake.tenant_id", "tenant_id"),
    // System columns.
    ("SELECT ctid FROM cake", "ctid"),
    ("SELECT cake.xmin FROM cake", "xmin"),
    ("SELECT rowid FROM cake", "rowid"),
    (r#"SELECT "_rowid_" FROM cake"#, r#""_rowid_""#),
    ("SELECT oid FROM cake", "oid"),
    ("SELECT cake.tableoid FROM cake", "tableoid"),
    ("DELETE FROM cake WHERE rowid = 1", "rowid"),
    // Whole rows.
    ("SELECT cake FROM cake", r#""cake""#),
    ("SELECT c FROM cake c", r#""c""#),
    ("SELECT c IS NULL FROM cake c", r#""c""#),
    ("SELECT count(c) FROM cake c", r#""c""#),
    ("SELECT coalesce(c, d) FROM cake c, fruit d", r#""c""#),
    ("SELECT (SELECT c) FROM cake c", r#""c""#),
    ("SELECT s FROM (SELECT id FROM cake) AS s", r#""s""#),
    ("WITH a AS (SELECT id FROM cake) SELECT a FROM a", r#""a""#),
    ("SELECT CAST(cake AS text) FROM cake", r#""cake""#),
    ("UPDATE cake SET name = CAST(cake AS text)", r#""cake""#),
    ("DELETE FROM cake WHERE cake IS NOT NULL", r#""cake""#),
    ("SELECT count(cake.*) FROM cake", "cake.*"),
    (
        "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = CAST(excluded AS text)",
        "\"excluded\"",
    ),
    ("SELECT main.cake.id FROM cake", "main.cake.id"),
    // Tables.
    ("SELECT id FROM users", r#""users""#),
    (r#"SELECT id FROM "Cake2""#, r#""Cake2""#),
    ("SELECT id FROM main.cake", "main.cake"),
    ("SELECT id FROM public.cake", "public.cake"),
    ("SELECT id FROM other.cake", "other.cake"),
    ("SELECT id FROM pg_catalog.pg_class", "pg_catalog.pg_class"),
    ("SELECT relname FROM pg_class", "pg_class"),
    ("SELECT rolname FROM pg_authid", "pg_authid"),
    ("SELECT * FROM pg_stat_activity", "pg_stat_activity"),
    ("SELECT * FROM information_schema.tables", "information_schema.tables"),
    ("SELECT id FROM pg_temp.cake", "pg_temp.cake"),
    ("SELECT name FROM sqlite_master", "sqlite_master"),
    ("SELECT name FROM sqlite_schema", "sqlite_schema"),
    ("SELECT name FROM main.sqlite_master", "main.sqlite_master"),
    ("SELECT * FROM pragma_table_info('cake')", "pragma_table_info"),
    ("SELECT a.id FROM cake a JOIN users b ON a.id = b.id", r#""users""#),
    ("SELECT id FROM cake WHERE id IN (SELECT id FROM users)", r#""users""#),
    ("SELECT id FROM cake UNION SELECT id FROM users", r#""users""#),
    ("SELECT (SELECT max(id) FROM users)", r#""users""#),
    ("SELECT id FROM cake ORDER BY (SELECT id FROM users)", r#""users""#),
    ("SELECT id FROM cake LIMIT (SELECT id FROM users)", r#""users""#),
    ("SELECT count(*) FILTER (WHERE EXISTS (SELECT 1 FROM users)) FROM cake", r#""users""#),
    ("INSERT INTO users (id) VALUES (1)", r#""users""#),
    ("INSERT INTO main.cake (id) VALUES (1)", "main.cake"),
    ("INSERT INTO cake (id) SELECT id FROM users", r#""users""#),
    ("INSERT INTO country (code) VALUES ('x')", r#""country""#),
    ("UPDATE country SET name = 'x'", r#""country""#),
    ("UPDATE users SET id = 1", r#""users""#),
    ("UPDATE main.cake SET id = 1", "main.cake"),
    ("UPDATE cake SET price = u.price FROM users u", r#""users""#),
    ("DELETE FROM country", r#""country""#),
    ("DELETE FROM users", r#""users""#),
    ("DELETE FROM main.cake", "main.cake"),
    ("DELETE FROM cake WHERE id IN (SELECT id FROM users)", r#""users""#),
    ("SELECT a.id FROM cake a, fruit a", r#""a""#),
    ("SELECT cake.id FROM cake, cake", r#""cake""#),
    ("UPDATE cake SET price = 1 FROM fruit AS cake", r#""cake""#),
    (r#"UPDATE cake AS c SET price = 1 FROM (SELECT id FROM fruit) AS "C""#, r#""C""#),
    ("SELECT a FROM cake AS x (a, b)", "names of columns after a table"),
    // WITH.
    ("WITH cake AS (SELECT 1 AS id) SELECT id FROM cake", r#""cake""#),
    (r#"WITH "CAKE" AS (SELECT 1 AS id) SELECT id FROM "CAKE""#, r#""CAKE""#),
    ("WITH a AS (SELECT id FROM a) SELECT id FROM a", r#""a""#),
    ("WITH a AS (SELECT id FROM b), b AS (SELECT 1 AS id) SELECT id FROM a", r#""b""#),
    ("WITH a AS (SELECT 1 AS id), a AS (SELECT 2 AS id) SELECT id FROM a", r#""a""#),
    (
        "WITH a AS (SELECT 1 AS id) SELECT id FROM (WITH a AS (SELECT 2 AS id) SELECT id FROM a) AS x",
        r#""a""#,
    ),
    ("SELECT id FROM (WITH a AS (SELECT 1 AS id) SELECT id FROM a) AS x JOIN a ON true", r#""a""#),
    ("WITH RECURSIVE a AS (SELECT id FROM b), b AS (SELECT id FROM a) SELECT id FROM a", r#""b""#),
    ("WITH a AS (DELETE FROM cake RETURNING id) SELECT id FROM a", "DELETE FROM cake RETURNING id"),
    (
        "WITH a AS (UPDATE cake SET id = 1 RETURNING id) SELECT id FROM a",
        "UPDATE cake SET id = 1 RETURNING id",
    ),
    (
        "WITH a AS (INSERT INTO cake (id) VALUES (1) RETURNING id) SELECT id FROM a",
        "INSERT INTO cake (id) VALUES (1) RETURNING id",
    ),
    ("WITH pg_class AS (SELECT 1 AS id) SELECT id FROM pg_class", "pg_class"),
    ("WITH a AS (SELECT id FROM cake) DELETE FROM a", r#""a""#),
    ("WITH a AS (SELECT id FROM cake) UPDATE a SET id = 1", r#""a""#),
    // Functions.
    ("SELECT set_config('app.tenant', 'b', true)", "set_config"),
    ("SELECT current_setting('app.tenant')", "current_setting"),
    ("SELECT pg_sleep(10)", "pg_sleep"),
    ("SELECT pg_advisory_lock(1)", "pg_advisory_lock"),
    ("SELECT pg_read_file('/etc/passwd')", "pg_read_file"),
    ("SELECT pg_terminate_backend(1)", "pg_terminate_backend"),
    ("SELECT lo_import('/etc/passwd')", "lo_import"),
    ("SELECT dblink('host=evil', 'SELECT 1')", "dblink"),
    ("SELECT query_to_xml('SELECT * FROM users', true, true, '')", "query_to_xml"),
    ("SELECT nextval('cake_id_seq')", "nextval"),
    ("SELECT currval('cake_id_seq')", "currval"),
    ("SELECT txid_current()", "txid_current"),
    ("SELECT has_table_privilege('users', 'SELECT')", "has_table_privilege"),
    ("SELECT ts_stat('SELECT 1')", "ts_stat"),
    ("SELECT to_regclass('users')", "to_regclass"),
    ("SELECT row_to_json(1)", "row_to_json"),
    ("SELECT load_extension('evil')", "load_extension"),
    ("SELECT last_insert_rowid()", "last_insert_rowid"),
    ("SELECT changes()", "changes"),
    ("SELECT sqlite_version()", "sqlite_version"),
    ("SELECT readfile('/etc/passwd')", "readfile"),
    ("SELECT pg_catalog.lower('x')", "pg_catalog.lower"),
    ("SELECT public.evil('x')", "public.evil"),
    ("SELECT evil()", "evil"),
    (r#"SELECT "LOWER"('x')"#, r#""LOWER""#),
    ("SELECT lower(evil('x'))", "evil"),
    ("SELECT sum(evil(price)) OVER (ORDER BY id) FROM cake", "evil"),
    ("SELECT id FROM cake WHERE evil(id) = 1", "evil"),
    ("INSERT INTO cake (id) VALUES (nextval('x'))", "nextval"),
    ("UPDATE cake SET id = nextval('x')", "nextval"),
    ("SELECT current_role", "current_role"),
    ("SELECT current_schema", "current_schema"),
    ("SELECT count(DISTINCT evil(id)) FROM cake", "evil"),
    ("SELECT count(id ORDER BY evil(id)) FROM cake", "evil"),
    // Types.
    ("SELECT CAST('users' AS regclass)", "REGCLASS"),
    ("SELECT CAST('evil' AS regproc)", "regproc"),
    ("SELECT CAST(1 AS oid)", "oid"),
    ("SELECT CAST('x' AS public.mood)", "public.mood"),
    ("SELECT CAST('x' AS unknown_type)", "unknown_type"),
    (r#"SELECT CAST('x' AS "Mood")"#, r#""Mood""#),
    ("SELECT CAST('x' AS pg_lsn)", "pg_lsn"),
    // Writes.
    ("INSERT INTO cake VALUES (1, 'x', 'b')", "INSERT without columns"),
    ("INSERT INTO cake DEFAULT VALUES", "INSERT without columns"),
    ("INSERT INTO cake SELECT * FROM fruit", "INSERT without columns"),
    ("INSERT INTO cake (id) VALUES (1) ON CONFLICT ON CONSTRAINT cake_key DO NOTHING", "ON CONSTRAINT"),
    ("INSERT INTO cake (id) VALUES (1) ON CONFLICT DO UPDATE SET id = 2", "ON CONFLICT DO UPDATE"),
    ("INSERT INTO cake (id, cake.name) VALUES (1, 'x')", "cake.name"),
    ("UPDATE cake SET cake.name = 'x'", "cake.name"),
    ("UPDATE cake SET name = 'x' ORDER BY id LIMIT 1", "ORDER BY id LIMIT 1"),
    ("DELETE FROM cake ORDER BY id LIMIT 1", "ORDER BY in DELETE"),
    ("DELETE cake FROM cake", "tables before FROM"),
    ("DELETE FROM cake, fruit", "DELETE"),
    ("UPDATE cake JOIN fruit ON true SET name = 'x'", "JOIN with the table that is changed"),
    ("UPDATE cake, fruit SET name = 'x'", ", fruit SET name = '…'"),
    // Clauses.
    ("SELECT id INTO copy FROM cake", "INTO"),
    ("SELECT TOP 1 id FROM cake", "TOP"),
    ("SELECT id FROM cake TABLESAMPLE SYSTEM (10)", "TABLESAMPLE"),
    ("SELECT id FROM cake FETCH FIRST 1 ROW ONLY", "FETCH"),
    ("SELECT * EXCEPT (id) FROM cake", "id ) FROM cake"),
    ("SELECT id FROM cake QUALIFY count(*) OVER () > 1", "QUALIFY"),
    (r#"SELECT name COLLATE pg_catalog."C" FROM cake"#, r#"pg_catalog."C""#),
    ("SELECT a.id FROM cake a JOIN fruit b USING (id) AS j", "AS after USING"),
    ("SELECT a.id FROM cake a CROSS APPLY (SELECT 1) AS b", r#"CROSS APPLY (SELECT 1) AS "b""#),
];

const POSTGRES: &[(&str, &str)] = &[
    ("SELECT id FROM cake /* no end", "…"),
    ("SELECT N'text'", "'…'"),
    ("SELECT 0x1F", "0x1F"),
    ("SELECT `id` FROM `cake`", "id ` FROM ` cake `"),
    ("SELECT id AS 'key' FROM cake", "FROM cake"),
    ("SELECT cake.id FROM cake JOIN (SELECT id FROM fruit) AS CAKE ON true", r#""cake""#),
    ("SELECT id FROM cake WHERE id IN UNNEST(ARRAY[1])", "UNNEST(ARRAY[1])"),
    ("SELECT id FROM cake |> WHERE id = 1", "…"),
    ("SET app.tenant = 'b'", "SET app.tenant = '…'"),
    ("SET ROLE postgres", "SET ROLE postgres"),
    ("RESET ALL", "RESET ALL"),
    ("RESET ROLE", "RESET ROLE"),
    ("SHOW search_path", "SHOW search_path"),
    ("COPY cake TO STDOUT", "COPY cake TO STDOUT"),
    ("COPY cake FROM '/etc/passwd'", "COPY cake FROM '…'"),
    ("LOCK TABLE cake", "LOCK TABLE cake"),
    ("DO 'BEGIN END'", "DO"),
    ("DO $$ BEGIN END $$", "DO"),
    ("CALL evil()", "CALL evil()"),
    ("PREPARE p AS SELECT 1", "PREPARE p AS SELECT 1"),
    ("EXECUTE p", "EXECUTE p"),
    ("DEALLOCATE p", "DEALLOCATE p"),
    ("DECLARE c CURSOR FOR SELECT id FROM cake", "DECLARE c CURSOR FOR SELECT id FROM cake"),
    ("FETCH ALL FROM c", "FETCH ALL FROM c"),
    ("LISTEN x", "LISTEN x"),
    ("NOTIFY x, 'y'", "NOTIFY x, '…'"),
    ("UNLISTEN *", "UNLISTEN *"),
    ("DISCARD ALL", "DISCARD ALL"),
    ("SECURITY LABEL ON TABLE cake IS 'x'", "SECURITY"),
    ("SELECT $$x$$", "'…'"),
    ("SELECT $tag$x$tag$", "'…'"),
    (r#"SELECT E'it\'s'"#, "'…'"),
    (r#"SELECT E'\u0027 OR 1=1'"#, "'…'"),
    (r#"SELECT E'a\nb'"#, "'…'"),
    (r#"SELECT U&'\0061'"#, "'…'"),
    (r#"SELECT U&"tenant\005fid" FROM cake"#, "…"),
    (r#"SELECT 'a\'"#, "'…'"),
    (r#"SELECT id FROM "CAKE""#, r#""CAKE""#),
    ("SELECT id FROM cake WHERE id = $2", "$2"),
    ("SELECT $0", "$0"),
    ("SELECT $01", "$01"),
    ("SELECT $1, $3", "$3"),
    ("SELECT $99999", "…"),
    ("SELECT ?", "the end of the statement"),
    ("SELECT (cake).id FROM cake", ".id"),
    ("SELECT (cake.data).x FROM cake", ".x"),
    ("SELECT (cake).* FROM cake", "FROM cake"),
    ("SELECT cake.to_jsonb FROM cake", "\"to_jsonb\""),
    ("SELECT cake.pg_typeof FROM cake", "\"pg_typeof\""),
    ("SELECT cake.row_to_json[1] FROM cake", "\"row_to_json\""),
    ("UPDATE cake SET name = cake.\"json_agg\"", "\"json_agg\""),
    ("SELECT cake::text FROM cake", r#""cake""#),
    ("SELECT row(cake) FROM cake", "row"),
    ("SELECT ROW(1, cake.*) FROM cake", "ROW"),
    ("SELECT to_jsonb(cake) FROM cake", r#""cake""#),
    ("SELECT array_agg(c) FROM cake c", r#""c""#),
    ("SELECT c.name.x FROM cake c", "c.name.x"),
    ("SELECT id FROM ONLY cake", "ONLY"),
    ("SELECT id FROM cake *", "ONLY"),
    ("SELECT * FROM generate_series(1, 2) WITH ORDINALITY", "generate_series(1, 2) WITH ORDINALITY"),
    ("SELECT * FROM evil(1) AS x", "evil"),
    ("SELECT * FROM pg_ls_dir('/') AS x", "pg_ls_dir"),
    ("SELECT * FROM ROWS FROM (evil(1)) AS x", "FROM ( evil ( 1 ) ) AS"),
    ("SELECT * FROM dblink('host=evil', 'SELECT 1') AS t (id integer)", "dblink"),
    ("SELECT * FROM json_to_record('{}') AS x (a integer)", "json_to_record"),
    (
        "SELECT * FROM XMLTABLE('/' PASSING 'x' COLUMNS a text) AS x",
        "XMLTABLE('…' PASSING '…' COLUMNS a TEXT) AS x",
    ),
    ("SELECT * FROM cake FOR UPDATE OF fruit", r#"FOR UPDATE OF "fruit""#),
    ("SELECT 1 FROM cake, country FOR UPDATE", "FOR UPDATE"),
    ("SELECT 1 FROM country FOR SHARE", "FOR SHARE"),
    ("SELECT 1 FROM (SELECT code FROM country) AS c FOR UPDATE", "FOR UPDATE"),
    ("SELECT 1 FROM cake, country FOR UPDATE OF country", r#"FOR UPDATE OF "country""#),
    ("SELECT id FROM cake UNION SELECT id FROM fruit FOR UPDATE", "FOR UPDATE"),
    ("SELECT current_user", "current_user"),
    ("SELECT session_user", "session_user"),
    ("SELECT user", "user"),
    ("SELECT current_catalog", "current_catalog"),
    ("SELECT 'users'::regclass", "REGCLASS"),
    ("SELECT 'x'::public.mood", "public.mood"),
    ("SELECT regclass 'users'", "REGCLASS"),
    ("SELECT '{users}'::regclass[]", "REGCLASS"),
    ("SELECT 1 OPERATOR(pg_catalog.+) 1", "OPERATOR(pg_catalog.+)"),
    ("SELECT 1 OPERATOR(+) 1", "OPERATOR(+)"),
    ("SELECT @ -1", "@"),
    ("SELECT |/ 4", "|/"),
    ("SELECT 1 ### 2", "###"),
    ("SELECT make_interval(days => 1)", "days => 1"),
    ("SELECT id FROM cake ORDER BY id USING >", "USING"),
    ("SELECT id FROM cake ORDER BY id USING OPERATOR(public.>)", "USING"),
    ("SELECT INTERVAL '1' DAY", "a unit after INTERVAL '…'"),
    ("SELECT lower('x') IGNORE NULLS", "IGNORE or RESPECT NULLS"),
    ("SELECT xmlelement(name x)", "x )"),
    ("SELECT JSON_QUERY('{}', '$')", "JSON_QUERY"),
    ("UPDATE ONLY cake SET id = 1", "ONLY cake"),
    ("DELETE FROM ONLY cake", "ONLY cake"),
    ("DELETE FROM cake USING users WHERE true", r#""users""#),
    ("DELETE FROM cake WHERE CURRENT OF c", "OF c"),
    ("INSERT INTO cake (id) OVERRIDING SYSTEM VALUE VALUES (1)", "OVERRIDING"),
    ("INSERT INTO cake (id[1]) VALUES (1)", "[ 1 ] ) VALUES ( 1 )"),
    ("UPDATE cake SET tags[1] = 'x'", "[ 1 ] = '…'"),
    ("SELECT extract(nonsense FROM now())", "nonsense"),
    ("SELECT unnest(c) FROM cake c", r#""c""#),
    ("SELECT m.concat FROM cake m", r#""concat""#),
    ("SELECT x.any_value FROM (SELECT id FROM cake) AS x", r#""any_value""#),
    ("WITH x AS (SELECT id FROM cake) SELECT x.num_nulls FROM x", r#""num_nulls""#),
    ("SELECT cake.bakery_round FROM cake", r#""bakery_round""#),
    ("SELECT (c).concat FROM cake c", ".concat"),
    ("SELECT count(c) FROM cake c", r#""c""#),
    ("SELECT c FROM cake c", r#""c""#),
    ("SELECT to_tsvector('other.cfg', 'x')", "'…'"),
    ("SELECT to_tsvector(('other.cfg'), 'x')", "'…'"),
    ("SELECT to_tsquery('\"other\".cfg', 'x')", "'…'"),
    ("SELECT plainto_tsquery('3748', 'x')", "'…'"),
    ("SELECT phraseto_tsquery(E'other.cfg', 'x')", "'…'"),
    ("SELECT websearch_to_tsquery('other.cfg', 'x')", "'…'"),
    ("SELECT ts_headline('other.cfg', 'x', to_tsquery('x'))", "'…'"),
    ("SELECT unaccent('other.rules', 'x')", "'…'"),
];

const SQLITE: &[(&str, &str)] = &[
    ("SELECT id FROM cake /* no end", "a comment"),
    ("SELECT N'text'", "…"),
    ("SELECT 0x1F", "'…'"),
    ("SELECT id AS 'key' FROM cake", "…"),
    ("SELECT cake.id FROM cake JOIN (SELECT id FROM fruit) AS CAKE ON true", r#""CAKE""#),
    ("SELECT id FROM cake WHERE id IN UNNEST(ARRAY[1])", "[1] )"),
    ("SELECT id FROM cake |> WHERE id = 1", "| > WHERE id = 1"),
    ("SELECT ?1", "?1"),
    ("SELECT :name", ":name"),
    ("SELECT @name", "@name"),
    ("SELECT $name", "'…'"),
    ("SELECT [id] FROM cake", "…"),
    ("SELECT id FROM cake INDEXED BY i", "an index of a table"),
    ("SELECT id FROM cake NOT INDEXED", "an index of a table"),
    ("SELECT id FROM temp.cake", "temp.cake"),
    ("SELECT id FROM cake WHERE id IN users", "users"),
    ("SELECT id FROM cake WHERE id IN cake", "cake"),
    ("SELECT id FROM cake WHERE name MATCH 'x'", "MATCH"),
    ("SELECT id FROM cake WHERE name REGEXP 'x'", "REGEXP"),
    ("SELECT id FROM cake LIMIT 1, 2", "LIMIT …, …"),
    ("SELECT id FROM cake FOR UPDATE", "FOR UPDATE"),
    ("INSERT OR REPLACE INTO cake (id) VALUES (1)", "OR after INSERT"),
    ("INSERT OR IGNORE INTO cake (id) VALUES (1)", "OR after INSERT"),
    ("REPLACE INTO cake (id) VALUES (1)", "OR after INSERT"),
    ("UPDATE OR IGNORE cake SET id = 1", "OR after UPDATE"),
    ("SELECT x FROM generate_series(1, 2) AS x", "generate_series"),
    ("SELECT DISTINCT ON (id) id FROM cake", "DISTINCT ON"),
    ("SELECT id FROM cake, LATERAL (SELECT 1) AS x", "LATERAL"),
    ("SELECT total_changes()", "total_changes"),
    ("SELECT zeroblob(1000000000)", "zeroblob"),
    ("SELECT edit('x')", "edit"),
    ("SELECT fts3_tokenizer('x')", "fts3_tokenizer"),
    ("SELECT id FROM dbstat", r#""dbstat""#),
    ("SELECT ARRAY[1]", "…"),
    ("SELECT 1 = ANY (SELECT id FROM cake)", "ANY or ALL"),
    ("DELETE FROM cake USING fruit", "USING"),
    ("SELECT RAISE(ABORT, 'x')", "RAISE"),
];

#[track_caller]
fn refused(dialect: Dialect, sql: &str) -> Refusal {
    match gate(dialect).admit(sql) {
        Ok(admitted) => panic!("{dialect:?} admits {sql}: {}", admitted.sql),
        Err(refusal) => refusal,
    }
}

#[test]
fn what_reaches_further_is_refused_by_name() {
    for (sql, part) in BOTH {
        assert_eq!(refused(Dialect::Postgres, sql).part(), *part, "{sql}");
        assert_eq!(refused(Dialect::Sqlite, sql).part(), *part, "{sql}");
    }
    for (sql, part) in POSTGRES {
        assert_eq!(refused(Dialect::Postgres, sql).part(), *part, "{sql}");
    }
    for (sql, part) in SQLITE {
        assert_eq!(refused(Dialect::Sqlite, sql).part(), *part, "{sql}");
    }
}

#[test]
fn what_surrounds_a_hostile_part_does_not_hide_it() {
    let places = [
        "SELECT id FROM cake WHERE {}",
        "SELECT {} FROM cake",
        "SELECT id FROM cake ORDER BY ({}) DESC",
        "SELECT id FROM cake GROUP BY coalesce({}, 1)",
        "SELECT id FROM cake GROUP BY id HAVING {}",
        "SELECT id FROM cake LIMIT {}",
        "SELECT id FROM cake LIMIT 1 OFFSET {}",
        "SELECT a.id FROM cake a JOIN fruit b ON {}",
        "SELECT CASE WHEN {} THEN 1 END",
        "SELECT CASE 1 WHEN 2 THEN 3 ELSE {} END",
        "SELECT CASE {} WHEN 2 THEN 3 END",
        "SELECT 1 BETWEEN 0 AND {}",
        "SELECT id IN (1, {}) FROM cake",
        "SELECT 'a' LIKE {}",
        "SELECT 'a' LIKE 'b' ESCAPE {}",
        "SELECT NOT ({})",
        "SELECT ({}) IS NULL",
        "SELECT ({}, 1) = (1, 2)",
        "SELECT CAST({} AS text)",
        "SELECT lower({})",
        "SELECT trim({})",
        "SELECT substr('a', {})",
        "SELECT ({}) COLLATE nocase",
        "SELECT count(*) FILTER (WHERE {}) FROM cake",
        "SELECT sum(id) OVER (PARTITION BY {}) FROM cake",
        "SELECT sum(id) OVER (ORDER BY {}) FROM cake",
        "SELECT sum(id) OVER (ORDER BY id ROWS BETWEEN {} PRECEDING AND CURRENT ROW) FROM cake",
        "SELECT sum(id) OVER w FROM cake WINDOW w AS (PARTITION BY {})",
        "SELECT x.a FROM (SELECT {} AS a) AS x",
        "SELECT 1 UNION SELECT {}",
        "SELECT 1 EXCEPT (VALUES ({}))",
        "VALUES (1, {})",
        "WITH a AS (SELECT {} AS x) SELECT x FROM a",
        "INSERT INTO cake (id) VALUES ({})",
        "INSERT INTO cake (id) SELECT {}",
        "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = {}",
        "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE {}",
        "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) WHERE {} DO NOTHING",
        "INSERT INTO cake (id) VALUES (1) RETURNING {}",
        "UPDATE cake SET name = {}",
        "UPDATE cake SET (name, price) = (1, {})",
        "UPDATE cake SET name = 'x' FROM (SELECT {} AS a) AS x",
        "UPDATE cake SET name = 'x' WHERE {}",
        "UPDATE cake SET name = 'x' RETURNING {}",
        "DELETE FROM cake WHERE {}",
        "DELETE FROM cake RETURNING ({})",
    ];
    let parts = [
        "evil(1)",
        "tenant_id",
        "\"TENANT_ID\"",
        "cake.tenant_id",
        "ctid",
        "(SELECT id FROM users)",
        "(SELECT id FROM pg_class)",
    ];
    for (place, part) in places.iter().flat_map(|place| parts.map(|part| (place, part))) {
        let sql = place.replace("{}", part);
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            let refusal = refused(dialect, &sql);
            assert!(
                part.contains(refusal.part().trim_matches(['"', '`'])),
                "{sql} is refused for {}",
                refusal.part()
            );
            // The same place is fine for something harmless, so it was the part that was refused.
            if let Err(refusal) = gate(dialect).admit(&place.replace("{}", "1")) {
                panic!("{place}: {refusal}");
            }
        }
    }
}

#[test]
fn what_is_too_large_is_refused() {
    let nested = |open: &str, close: &str| format!("SELECT {}1{}", open.repeat(60), close.repeat(60));
    let chain = format!("SELECT id FROM cake WHERE {}", vec!["id = 1"; 600].join(" OR "));
    let chain_in_brackets = format!(
        "SELECT {}",
        "(1 + ".repeat(40) + "1" + &format!("{})", " + 1".repeat(980)) + &" + 1)".repeat(39)
    );
    let long = format!("SELECT '{}'", "x".repeat(1024 * 1024));
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        for sql in [
            &nested("(", ")"),
            &nested("(SELECT ", ")"),
            &nested("lower(", ")"),
            &nested("NOT ", ""),
            &nested("CASE WHEN ", " THEN 1 END"),
            &chain,
            &long,
        ] {
            assert!(gate(dialect).admit(sql).is_err(), "{}", &sql[..40]);
        }
        assert_eq!(refused(dialect, &chain_in_brackets).reason(), "is one operator too many in a row");
        // As long as these may be, they are walked, written and compared on the stack of a small thread.
        for link in [r#" OR "id" = 1"#, " + 1", " IS NULL", " IN (1)", " LIKE 'a'", " || lower(name)"] {
            for lead in
                ["SELECT id FROM cake WHERE id", "UPDATE cake SET id = id", "DELETE FROM cake WHERE id"]
            {
                let sql = format!("{lead}{}", link.repeat(480));
                if let Err(refusal) = gate(dialect).admit(&sql) {
                    panic!("{lead}{link}: {refusal}");
                }
            }
        }
    }
    let rows = vec!["(?, ?, ?)"; 10_000].join(", ");
    let many = format!("INSERT INTO cake (id, name, price) VALUES {rows}");
    assert_eq!(gate(Dialect::Sqlite).admit(&many).unwrap().parameters, 30_000);
    let more = format!("INSERT INTO cake (id, name, price) VALUES {rows}, {rows}");
    assert!(gate(Dialect::Sqlite).admit(&more).is_err());
}

#[test]
fn nul_is_refused() {
    assert_eq!(refused(Dialect::Postgres, "SELECT 'a\0b'").part(), "\\0");
}

#[test]
fn a_refusal_is_short_and_holds_no_literal() {
    let secrets = [
        "CREATE TABLE x AS SELECT 'secret', E'secret', $$secret$$, N'secret', U&'secret', B'secret'",
        "SELECT id FROM cake WHERE name = 'secret' 'secret' 'it''s secret'",
        "SELECT 'secret'::regclass",
        "SELECT id FRO cake WHERE name = 'secret'",
        "SELECT evil('secret')",
        "COPY cake FROM 'secret'",
        "SELECT 'secret",
        "SELECT $$secret",
        "SELECT E'secret\\'secret'",
        "NOTIFY x, 'secret'",
    ];
    for sql in secrets {
        for dialect in [Dialect::Postgres, Dialect::Sqlite] {
            if let Err(refusal) = gate(dialect).admit(sql) {
                assert!(!refusal.to_string().contains("secret"), "{refusal}");
                assert!(refusal.part().chars().count() <= 81, "{refusal}");
            }
        }
    }
    let long = format!("CREATE TABLE x ({} integer)", "ö, ".repeat(500));
    assert!(refused(Dialect::Postgres, &long).part().chars().count() <= 81);
}

#[test]
fn an_operator_s_function_has_a_plain_name() {
    assert!(gate(Dialect::Postgres).admit("SELECT bakery_round(1)").is_ok());
    assert_eq!(refused(Dialect::Postgres, "SELECT \"Not plain\"(1)").part(), "\"Not plain\"");
}

#[test]
fn a_column_of_a_declared_table_is_one_that_its_model_has() {
    let columns = [("cake", "id"), ("cake", "concat"), ("fruit", "id"), ("fruit", "Name")];
    let columns = columns.map(|(table, column)| (table.to_owned(), column.to_owned()));
    let kinds = [("cake", Kind::Tenant), ("fruit", Kind::Tenant), ("country", Kind::Reference)];
    for dialect in [Dialect::Postgres, Dialect::Sqlite] {
        let gate = Gate::new(dialect, Tables::new(kinds).with_columns(&columns));
        for sql in [
            "SELECT cake.id, cake.concat, f.id, f.\"Name\" FROM cake, fruit AS f",
            "SELECT c.id FROM cake c WHERE EXISTS (SELECT 1 FROM fruit f WHERE f.id = c.id)",
            "INSERT INTO cake (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = excluded.id RETURNING cake.id",
            "UPDATE cake AS c SET id = f.id FROM fruit AS f WHERE f.id = c.id",
            "DELETE FROM fruit WHERE fruit.id = 1",
            "SELECT x.total FROM (SELECT sum(cake.id) AS total FROM cake) AS x",
            // Nothing is known of its columns.
            "SELECT country.code FROM country",
        ] {
            assert!(gate.admit(sql).is_ok(), "{dialect:?}: {sql}: {}", gate.admit(sql).unwrap_err());
        }
        for sql in [
            "SELECT cake.max FROM cake",
            "SELECT c.evil FROM cake AS c",
            "SELECT c.evil FROM fruit, LATERAL (SELECT 1) AS x, cake AS c",
            "SELECT f.concat FROM fruit AS f",
            "SELECT cake.id[cake.evil] FROM cake",
            "SELECT 1 FROM cake ORDER BY cake.evil",
            "SELECT 1 FROM cake AS c, fruit AS f WHERE c.id = f.concat",
            "UPDATE cake SET id = cake.evil",
            "DELETE FROM cake WHERE cake.evil IS NULL",
            "INSERT INTO fruit (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = excluded.evil",
            "INSERT INTO fruit (id) VALUES (1) RETURNING fruit.evil",
        ] {
            assert!(gate.admit(sql).is_err(), "{dialect:?}: {sql}");
        }
    }
    // Of one name for two tables, in two parts of a statement, that is no column of both.
    let gate = Gate::new(Dialect::Postgres, Tables::new(kinds).with_columns(&columns));
    let sql = "SELECT c.id, (SELECT c.concat FROM cake AS c) FROM fruit AS c";
    assert_eq!(gate.admit(sql).unwrap_err().part(), r#""concat""#);
}

#[test]
fn a_statement_that_is_large_takes_no_longer_than_its_size() {
    fn list(count: usize, separator: &str, item: impl Fn(usize) -> String) -> String {
        (0..count).map(item).collect::<Vec<_>>().join(separator)
    }
    let nested = |open: &str, inner: &str, close: &str, depth| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    let from = list(50_000, ", ", |n| format!("cake c{n}"));
    let with = list(20_000, ", ", |n| format!("c{n} AS (SELECT 1)"));
    let calls = list(30_000, ", ", |n| format!("generate_series(1, 2) c{n}"));
    let statements = [
        (false, format!("SELECT 1 FROM {from}")),
        (false, format!("WITH {with} SELECT 1")),
        (false, format!("SELECT 1 FROM {calls}")),
        (false, format!("DELETE FROM cake USING {from}")),
        (false, format!("UPDATE cake SET id = 1 FROM {from}")),
        (true, format!("SELECT 1 FROM {}", list(200, ", ", |n| format!("cake c{n}")))),
        (true, format!("SELECT {} FROM cake", list(50_000, ", ", |n| format!("cake.c{n}")))),
        (true, format!("SELECT {} FROM cake", list(50_000, ", ", |n| format!("c{n} AS d{n}")))),
        (true, format!("SELECT 1 FROM cake ORDER BY {}", list(50_000, ", ", |n| format!("c{n}")))),
        (true, format!("SELECT 1 FROM cake WHERE id IN ({})", list(100_000, ", ", |n| n.to_string()))),
        (true, format!("INSERT INTO cake (id) VALUES {}", list(100_000, ", ", |n| format!("({n})")))),
        (true, format!("SELECT {}", nested("(", "1", ")", 40))),
        (true, format!("SELECT {}", nested("abs(", "1", ")", 40))),
        (true, format!("SELECT {}", nested("(SELECT ", "1", ")", 20))),
        (false, format!("SELECT 1 FROM {}", nested("(", "cake", ")", 20))),
    ];
    let begun = std::time::Instant::now();
    for (admitted, sql) in statements {
        let answer = gate(Dialect::Postgres).admit(&sql);
        assert_eq!(answer.is_ok(), admitted, "{}: {:?}", &sql[..sql.len().min(60)], answer.err());
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
}
