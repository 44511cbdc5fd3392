//! What is admitted and how it is rewritten (`accepted`, `sea_orm`), what is refused (`hostile`), and that
//! what is admitted sees one tenant's rows (`isolation`, `mutation`).

mod accepted;
mod hostile;
mod isolation;
mod messages;
mod mutation;
mod sea_orm;
mod statements;

use super::{Admitted, Dialect, Gate, Kind, Refusal, Tables};

/// A bakery's tables. `country` is the same for all tenants.
fn gate(dialect: Dialect) -> Gate {
    let tables = [
        ("cake", Kind::Tenant),
        ("fruit", Kind::Tenant),
        ("filling", Kind::Tenant),
        ("cake_filling", Kind::Tenant),
        ("status", Kind::Tenant),
        ("Order", Kind::Tenant),
        ("country", Kind::Reference),
    ];
    Gate::new(dialect, Tables::new(tables)).with_functions(["bakery_round", "Not plain"]).with_types(["mood"])
}

/// How an answer of the gate is written down in the `.txt` files.
fn written(answer: Result<&Admitted, &Refusal>) -> String {
    match answer {
        Ok(Admitted { sql, parameters, tenant_parameter, tables, writes }) => {
            let tenant = if *tenant_parameter { "+tenant" } else { "" };
            let does = if *writes { "writes" } else { "reads" };
            format!("{sql}\n      ({parameters}{tenant}, {does} {})", tables.join(" "))
        }
        Err(refusal) => refusal.to_string(),
    }
}

/// Compares with a file beside the tests; `UPDATE_EXPECT=1` writes it.
fn expect(file: &str, found: &str) {
    let path = format!("{}/src/gate/tests/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{file}, line {}", number + 1);
    }
    assert_eq!(found.lines().count(), expected.lines().count(), "the length of {file}");
}

/// A statement with SQLite's parameters in place of PostgreSQL's, which have to stand in their order.
fn for_sqlite(sql: &str) -> String {
    let mut text = String::new();
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        text.push('?');
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    text + rest
}
