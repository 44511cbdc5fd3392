//! Random statements for SQLite, of a grammar in which the order of rows never decides about a result.

use rusqlite::types::Value;

/// A statement with its values.
pub(super) struct Random {
    pub(super) sql: String,
    pub(super) values: Vec<Value>,
    /// Whether its result has all columns of a table, `tenant_id` among them.
    pub(super) all_columns: bool,
}

/// The columns of the tables, without `tenant_id`.
const TABLES: &[(&str, &[&str])] = &[
    ("cake", &["id", "shop", "name", "price", "parent", "sold"]),
    ("fruit", &["id", "name", "cake_id", "ripe", "price"]),
    ("filling", &["id", "name", "price"]),
    ("country", &["code", "name", "size"]),
];

const WRITABLE: usize = 3;

/// Makes one statement.
pub(super) fn random(seed: u64) -> Random {
    let mut maker = Maker {
        random: fastrand::Rng::with_seed(seed),
        values: vec![],
        scope: vec![],
        with: vec![],
        names: 0,
    };
    let (sql, all_columns) = maker.statement();
    Random { sql, values: maker.values, all_columns }
}

/// A name in FROM, and its columns.
#[derive(Clone)]
struct Range {
    name: String,
    columns: Vec<String>,
}

struct Maker {
    random: fastrand::Rng,
    values: Vec<Value>,
    /// What columns can be taken from, those of the queries around included.
    scope: Vec<Range>,
    with: Vec<Range>,
    names: usize,
}

impl Maker {
    fn below(&mut self, n: usize) -> usize {
        self.random.usize(..n)
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Clone>(&mut self, choices: &[T]) -> T {
        let n = self.below(choices.len());
        choices[n].clone()
    }

    fn fresh(&mut self, letter: char) -> String {
        self.names += 1;
        format!("{letter}{}", self.names)
    }

    /// Names come quoted as often as not.
    fn quoted(&mut self, name: &str) -> String {
        if self.chance(70) { format!("\"{name}\"") } else { name.to_owned() }
    }

    fn statement(&mut self) -> (String, bool) {
        let with = if self.chance(25) { self.with() } else { String::new() };
        match self.below(10) {
            0 => (with + &self.insert(), false),
            1 | 2 => (with + &self.update(), false),
            3 => (with + &self.delete(), false),
            4 => {
                let (from, range) = self.table();
                let condition = self.condition_over(vec![range], 2);
                (format!("{with}SELECT * FROM {from} WHERE {condition}"), true)
            }
            _ => {
                let columns = 1 + self.below(3);
                (with + &self.query(columns, 3), false)
            }
        }
    }

    fn with(&mut self) -> String {
        let mut expressions = vec![];
        let mut recursive = "";
        for _ in 0..=self.below(2) {
            let name = self.fresh('w');
            let columns = 1 + self.below(2);
            let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
            let query = if self.chance(20) && columns == 1 {
                recursive = "RECURSIVE ";
                let from = self.table_called("cake", "r");
                let start = self.below(4);
                format!("SELECT {start} UNION SELECT r.id FROM {from} JOIN {name} ON r.parent = {name}.c0")
            } else {
                self.query(columns, 2)
            };
            expressions.push(format!("{name} ({}) AS ({query})", names.join(", ")));
            self.with.push(Range { name, columns: names });
        }
        format!("WITH {recursive}{} ", expressions.join(", "))
    }

    /// A query of that many columns, perhaps of several SELECTs.
    fn query(&mut self, columns: usize, depth: usize) -> String {
        let mut query = self.select(columns, depth);
        while self.chance(15) {
            let operator = self.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
            query = format!("{query} {operator} {}", self.select(columns, depth.saturating_sub(1)));
        }
        if self.chance(25) {
            let order: Vec<String> =
                (1..=columns).map(|n| format!("{n}{}", self.one(&["", " ASC", " DESC"]))).collect();
            query = format!("{query} ORDER BY {}", order.join(", "));
            if self.chance(70) {
                query = format!("{query} LIMIT {}", self.below(5));
                if self.chance(40) {
                    query = format!("{query} OFFSET {}", self.below(3));
                }
            }
        }
        query
    }

    fn select(&mut self, columns: usize, depth: usize) -> String {
        let outside = self.scope.len();
        // Text has to be made in the order in which parameters stand in it, while FROM tells which columns
        // there are: FROM is made with literals alone.
        let from = self.from(depth);
        let group = self.chance(20);
        let distinct = if !group && self.chance(15) { "DISTINCT " } else { "" };
        let select = if group {
            let by = self.column();
            let list: Vec<String> =
                (0..columns).map(|n| if n == 0 { by.clone() } else { self.aggregate(depth) }).collect();
            let having =
                if self.chance(40) { format!(" HAVING count(*) > {}", self.below(3)) } else { String::new() };
            let list = list.join(", ");
            let condition = self.condition(depth);
            format!("SELECT {list} FROM {from} WHERE {condition} GROUP BY {by}{having}")
        } else {
            let whole = self.chance(10);
            let list: Vec<String> =
                (0..columns).map(|_| if whole { self.aggregate(depth) } else { self.value(depth) }).collect();
            let condition =
                if self.chance(80) { format!(" WHERE {}", self.condition(depth)) } else { String::new() };
            format!("SELECT {distinct}{} FROM {from}{condition}", list.join(", "))
        };
        self.scope.truncate(outside);
        select
    }

    /// A table under its own name or another, as it stands in FROM.
    fn table(&mut self) -> (String, Range) {
        let (table, columns) = self.one(TABLES);
        let own = self.chance(30) && !self.scope.iter().any(|range| range.name == table);
        let name = if own { table.to_owned() } else { self.fresh('t') };
        (
            self.table_called(table, &name),
            Range { name, columns: columns.iter().map(ToString::to_string).collect() },
        )
    }

    fn table_called(&mut self, table: &str, name: &str) -> String {
        let written = self.quoted(table);
        if table == name { written } else { format!("{written} AS {}", self.quoted(name)) }
    }

    fn from(&mut self, depth: usize) -> String {
        let literals = self.values.len();
        let mut from = String::new();
        for n in 0..=self.below(3) {
            let (item, range) = self.item(depth);
            if n == 0 {
                from = item;
                self.scope.push(range);
                continue;
            }
            let join = self.one(&[
                ",",
                "CROSS JOIN",
                "NATURAL JOIN",
                "JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "LEFT JOIN",
            ]);
            self.scope.push(range);
            from = if matches!(join, "," | "CROSS JOIN" | "NATURAL JOIN") {
                format!("{from} {join} {item}")
            } else {
                format!("{from} {join} {item} ON {}", self.condition(0))
            };
        }
        debug_assert_eq!(self.values.len(), literals);
        from
    }

    /// Something to stand in FROM, without parameters.
    fn item(&mut self, depth: usize) -> (String, Range) {
        if depth > 0 && self.chance(20) {
            let scope = std::mem::take(&mut self.scope);
            let values = self.values.len();
            let columns = 1 + self.below(2);
            let query = self.query(columns, depth - 1);
            self.scope = scope;
            if self.values.len() == values {
                let name = self.fresh('d');
                let aliases: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
                let list = aliases.join(", ");
                let with = self.fresh('w');
                let item = format!("(WITH {with} ({list}) AS ({query}) SELECT {list} FROM {with}) AS {name}");
                return (item, Range { name, columns: aliases });
            }
            self.values.truncate(values);
        }
        if !self.with.is_empty() && self.chance(30) {
            let with = self.with.clone();
            let range = self.one(&with);
            let name = self.fresh('t');
            return (format!("{} AS {name}", range.name), Range { name, columns: range.columns });
        }
        self.table()
    }

    fn column(&mut self) -> String {
        let scope = self.scope.clone();
        // The nearest are the likeliest.
        let range = if self.chance(70) { scope[scope.len() - 1].clone() } else { self.one(&scope) };
        let column = self.one(&range.columns);
        format!("{}.{}", self.quoted(&range.name), self.quoted(&column))
    }

    fn literal(&mut self) -> String {
        self.one(&["0", "1", "2", "3", "7", "10", "'north'", "'plum'", "NULL", "1001"]).to_owned()
    }

    fn value(&mut self, depth: usize) -> String {
        if depth == 0 {
            return if self.chance(70) { self.column() } else { self.literal() };
        }
        match self.below(12) {
            0..=3 => self.column(),
            4 => {
                if self.chance(60) {
                    self.parameter()
                } else {
                    self.literal()
                }
            }
            5 => {
                let operator = self.one(&["+", "-", "*", "||", "%"]);
                format!("({} {operator} {})", self.value(depth - 1), self.value(depth - 1))
            }
            6 => {
                let condition = self.condition(depth - 1);
                format!(
                    "CASE WHEN {condition} THEN {} ELSE {} END",
                    self.value(depth - 1),
                    self.value(depth - 1)
                )
            }
            7 => format!("coalesce({}, {})", self.value(depth - 1), self.value(depth - 1)),
            8 => {
                let function = self.one(&["lower", "length", "abs", "typeof", "upper"]);
                format!("{function}({})", self.value(depth - 1))
            }
            9 => {
                let outside = self.scope.len();
                let from = self.from(depth - 1);
                let aggregate = self.aggregate(0);
                let condition = self.condition(depth - 1);
                self.scope.truncate(outside);
                format!("(SELECT {aggregate} FROM {from} WHERE {condition})")
            }
            10 => format!("CAST({} AS text)", self.value(depth - 1)),
            _ => format!("nullif({}, {})", self.value(depth - 1), self.value(depth - 1)),
        }
    }

    fn aggregate(&mut self, depth: usize) -> String {
        let filter = if self.chance(15) {
            format!(" FILTER (WHERE {})", self.condition(depth.min(1)))
        } else {
            String::new()
        };
        if self.chance(40) {
            return format!("count(*){filter}");
        }
        let function = self.one(&["sum", "min", "max", "count", "count"]);
        // An aggregate of columns from outside alone would be the outer query's.
        let range = self.scope[self.scope.len() - 1].clone();
        let column = self.one(&range.columns);
        format!("{function}({}.{}){filter}", range.name, self.quoted(&column))
    }

    fn condition_over(&mut self, ranges: Vec<Range>, depth: usize) -> String {
        let outside = self.scope.len();
        self.scope.extend(ranges);
        let condition = self.condition(depth);
        self.scope.truncate(outside);
        condition
    }

    fn condition(&mut self, depth: usize) -> String {
        if depth == 0 {
            return match self.below(5) {
                0 => "1 = 1".to_owned(),
                1 => format!("{} IS NOT NULL", self.column()),
                2 => format!("{} IN ({}, {})", self.column(), self.literal(), self.literal()),
                _ => {
                    format!("{} {} {}", self.column(), self.one(&["=", "<>", "<", ">=", "IS"]), self.column())
                }
            };
        }
        match self.below(12) {
            0 => format!("({} OR {})", self.condition(depth - 1), self.condition(depth - 1)),
            1 => format!("{} OR {}", self.condition(depth - 1), self.condition(depth - 1)),
            2 | 3 => format!("{} AND {}", self.condition(depth - 1), self.condition(depth - 1)),
            4 => format!("NOT ({})", self.condition(depth - 1)),
            5 => {
                let not = self.one(&["", "NOT "]);
                let value = self.value(depth - 1);
                format!("{value} {not}IN ({})", self.query(1, depth - 1))
            }
            6 => {
                let not = self.one(&["", "NOT "]);
                format!("{not}EXISTS ({})", self.query(1, depth - 1))
            }
            7 => {
                format!("{} BETWEEN {} AND {}", self.value(depth - 1), self.literal(), self.value(depth - 1))
            }
            8 => format!("{} LIKE '%{}%'", self.column(), self.one(&["a", "o", "th"])),
            9 => "TRUE".to_owned(),
            _ => format!(
                "{} {} {}",
                self.value(depth - 1),
                self.one(&["=", "<>", "<", ">", "<=", "IS", "IS NOT"]),
                self.value(depth - 1)
            ),
        }
    }

    /// A parameter; only where the text before it is complete.
    fn parameter(&mut self) -> String {
        let value = match self.below(5) {
            0 => Value::Null,
            1 => Value::Text(self.one(&["north", "south", "apple", "plum", "b", "a"]).to_owned()),
            _ => Value::Integer(self.one(&[0, 1, 2, 3, 4, 7, 10, 1001])),
        };
        self.values.push(value);
        "?".to_owned()
    }

    /// A table to write to, under its own name or another.
    fn target(&mut self) -> (&'static str, Range) {
        let n = self.below(WRITABLE);
        let (table, columns) = TABLES[n];
        let name = if self.chance(60) { table.to_owned() } else { self.fresh('t') };
        (table, Range { name, columns: columns.iter().map(ToString::to_string).collect() })
    }

    fn insert(&mut self) -> String {
        let (table, columns) = TABLES[self.below(WRITABLE)];
        let into = format!("INSERT INTO {} ({})", self.quoted(table), columns.join(", "));
        let range =
            Range { name: table.to_owned(), columns: columns.iter().map(ToString::to_string).collect() };
        let source = if self.chance(60) {
            let rows: Vec<String> = (0..=self.below(2))
                .map(|_| {
                    let row: Vec<String> = columns
                        .iter()
                        .map(|column| match *column {
                            "id" => (1 + self.below(12)).to_string(),
                            "shop" | "name" => {
                                format!("'{}'", self.one(&["north", "south", "apple", "plum", "quince"]))
                            }
                            _ => self.parameter(),
                        })
                        .collect();
                    format!("({})", row.join(", "))
                })
                .collect();
            format!("VALUES {}", rows.join(", "))
        } else {
            let (other, other_columns) = self.one(TABLES);
            let name = self.fresh('t');
            let from = self.table_called(other, &name);
            let key = other_columns[0];
            let plus = self.below(12);
            let list: Vec<String> = columns
                .iter()
                .map(|column| match *column {
                    "id" => format!("{name}.{key} + {plus}"),
                    "shop" | "name" => format!("{name}.name || '{}'", self.one(&["", "x"])),
                    _ => format!("{name}.{key}"),
                })
                .collect();
            let ranges =
                vec![Range { name, columns: other_columns.iter().map(ToString::to_string).collect() }];
            let condition = self.condition_over(ranges, 1);
            format!("SELECT {} FROM {from} WHERE {condition} ORDER BY 1", list.join(", "))
        };
        let target = if table == "cake" && self.chance(30) { "shop, name" } else { "id" };
        let conflict = match self.below(4) {
            0 => String::new(),
            1 => " ON CONFLICT DO NOTHING".to_owned(),
            2 => format!(" ON CONFLICT ({target}) DO NOTHING"),
            _ => {
                let condition = self.condition_over(vec![range.clone()], 1);
                format!(
                    " ON CONFLICT ({target}) DO UPDATE SET price = excluded.price + {table}.price WHERE {condition}"
                )
            }
        };
        let returning = if self.chance(40) { " RETURNING id, name, price" } else { "" };
        format!("{into} {source}{conflict}{returning}")
    }

    fn update(&mut self) -> String {
        let (table, range) = self.target();
        let target = self.table_called(table, &range.name);
        self.scope.push(range.clone());
        let mut set = vec![format!("price = {}", self.value(2))];
        if table == "cake" && self.chance(40) {
            set.push(format!("sold = {}", self.parameter()));
        }
        if self.chance(10) {
            set.push("name = 'same'".to_owned());
        }
        let mut from = String::new();
        let mut condition_ranges = vec![];
        if self.chance(30) {
            let (item, other) = self.item(1);
            if other.name != range.name {
                from = format!(" FROM {item}");
                condition_ranges.push(other);
            }
        }
        let condition = if self.chance(85) {
            format!(" WHERE {}", self.condition_over(condition_ranges, 2))
        } else {
            String::new()
        };
        let returning = if self.chance(40) {
            format!(" RETURNING id, {}", self.one(&["price", "name"]))
        } else {
            String::new()
        };
        self.scope.clear();
        // RETURNING would be ambiguous beside another table.
        let returning = if from.is_empty() { returning } else { String::new() };
        format!("UPDATE {target} SET {}{from}{condition}{returning}", set.join(", "))
    }

    fn delete(&mut self) -> String {
        let (table, range) = self.target();
        let target = self.table_called(table, &range.name);
        let condition = if self.chance(90) {
            let condition = self.condition_over(vec![range], 2);
            let parameter =
                if self.chance(30) { format!(" OR id = {}", self.parameter()) } else { String::new() };
            format!(" WHERE {condition}{parameter}")
        } else {
            String::new()
        };
        let returning = if self.chance(40) { " RETURNING id, name" } else { "" };
        format!("DELETE FROM {target}{condition}{returning}")
    }
}
