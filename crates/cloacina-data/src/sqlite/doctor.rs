//! What the doctor asks a SQLite file.

use std::collections::BTreeSet;
use std::path::Path;

use cloacina_core::store::{Finding, Place};
use cloacina_sqlite::file_findings;
use sqlx::{Row as _, SqliteConnection};

use crate::declared::Declared;
use crate::error::{DataError, Result};
use crate::gate::Kind;
use crate::name::{ENGINE, TENANT_ID, VIEWS};
use uuid::Uuid;

/// The tables of the engine and of this crate that are beside those of [`ENGINE`].
const OURS: [&str; 9] = [
    "cloacina_place",
    "cloacina_migration",
    "cloacina_runner",
    "cloacina_notice",
    "cloacina_workflow",
    "cloacina_key",
    "cloacina_audit",
    "cloacina_audit_chain",
    "cloacina_data_migration",
];

/// Columns of all tables, with what is needed of them.
const COLUMNS: &str = "SELECT lower(master.name) AS tab, lower(info.name) AS col, info.\"notnull\" AS required, info.dflt_value AS standard, \
                       info.hidden AS hidden FROM sqlite_master AS master, pragma_table_xinfo(master.name) AS info \
                       WHERE master.type = 'table' AND master.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";

/// Unique indexes with their first column. Of a key that is the rowid there is none.
const UNIQUE: &str = "SELECT lower(master.name) AS tab, list.name AS ind, lower(first.name) AS col FROM sqlite_master AS master, \
                      pragma_index_list(master.name) AS list LEFT JOIN pragma_index_info(list.name) AS first ON first.seqno = 0 \
                      WHERE master.type = 'table' AND list.\"unique\" = 1";

/// Foreign keys, and whether a pair of them is the tenant's column on both sides.
const FOREIGN: &str = "SELECT lower(master.name) AS tab, lower(list.\"table\") AS target, \
                       coalesce(max(lower(list.\"from\") = 'tenant_id' AND lower(list.\"to\") = 'tenant_id'), 0) AS led FROM sqlite_master AS master, \
                       pragma_foreign_key_list(master.name) AS list WHERE master.type = 'table' GROUP BY master.name, list.id";

struct Column {
    table: String,
    name: String,
    required: bool,
    standard: Option<String>,
    plain: bool,
}

/// What is not clean in a file.
pub(crate) async fn findings(
    connection: &mut SqliteConnection,
    path: &Path,
    place: &Place,
    declared: &Declared,
) -> Result<Vec<Finding>> {
    let failed = |error| DataError::driver(&place.name, "look whether its file is clean", error);
    let mut examination = Examination { place, declared, found: file_findings(path, &place.name) };

    let objects: Vec<(String, String, Option<String>)> =
        sqlx::query_as("SELECT type, name, sql FROM sqlite_master ORDER BY type, name")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
    for (kind, name, sql) in &objects {
        examination.object(kind, name, sql.as_deref().unwrap_or_default());
    }
    let there: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.0 == "table")
        .map(|object| object.1.to_ascii_lowercase())
        .collect();

    let columns = sqlx::query(COLUMNS).fetch_all(&mut *connection).await.map_err(failed)?;
    let columns = columns.iter().map(|row| {
        Ok(Column {
            table: row.try_get("tab")?,
            name: row.try_get("col")?,
            required: row.try_get("required")?,
            standard: row.try_get("standard")?,
            plain: row.try_get::<i64, _>("hidden")? == 0,
        })
    });
    examination.columns(&there, &columns.collect::<sqlx::Result<Vec<_>>>().map_err(failed)?);

    for row in sqlx::query(UNIQUE).fetch_all(&mut *connection).await.map_err(failed)? {
        let first: Option<String> = row.try_get("col").map_err(failed)?;
        let (table, index): (String, String) =
            (row.try_get("tab").map_err(failed)?, row.try_get("ind").map_err(failed)?);
        examination.unique(&table, &index, first.as_deref());
    }
    for row in sqlx::query(FOREIGN).fetch_all(&mut *connection).await.map_err(failed)? {
        let (table, target): (String, String) =
            (row.try_get("tab").map_err(failed)?, row.try_get("target").map_err(failed)?);
        examination.foreign(&table, &target, row.try_get("led").map_err(failed)?);
    }
    Ok(examination.found)
}

struct Examination<'a> {
    place: &'a Place,
    declared: &'a Declared,
    found: Vec<Finding>,
}

impl Examination<'_> {
    fn report(&mut self, what: String, remedy: impl Into<String>) {
        self.found.push(Finding::fatal(&self.place.name, what, remedy));
    }

    fn kind(&self, table: &str) -> Option<Kind> {
        self.declared.kinds.iter().find(|(name, _)| name.eq_ignore_ascii_case(table)).map(|(_, kind)| *kind)
    }

    fn object(&mut self, kind: &str, name: &str, sql: &str) {
        let folded = name.to_ascii_lowercase();
        let is_virtual = sql.trim_start().to_ascii_uppercase().starts_with("CREATE VIRTUAL");
        let is_known = folded.starts_with("sqlite_")
            || ENGINE.contains(&&*folded)
            || OURS.contains(&&*folded)
            || self.kind(name).is_some();
        let (what, remedy) = match kind {
            "trigger" => ("there is a trigger", format!("DROP TRIGGER \"{name}\"")),
            "view" if VIEWS.contains(&&*folded) => return,
            "view" => ("there is a view", format!("DROP VIEW \"{name}\"")),
            "table" if is_virtual => ("there is a virtual table", format!("DROP TABLE \"{name}\"")),
            "table" if !is_known => (
                "there is a table that is not declared,",
                "declare it with `tenant` or `reference`, or move it to another file".to_owned(),
            ),
            _ => return,
        };
        self.report(format!("{what} `{name}`"), remedy);
    }

    fn columns(&mut self, there: &BTreeSet<String>, columns: &[Column]) {
        let declared = self.declared;
        for table in declared.tables() {
            if !there.contains(&table.to_ascii_lowercase()) {
                self.report(format!("the table `{table}` is missing"), "restore it");
            }
        }
        let find = |table: &str, name: &str| {
            columns.iter().find(|found| {
                table.eq_ignore_ascii_case(&found.table) && name.eq_ignore_ascii_case(&found.name)
            })
        };
        for (table, column) in &declared.columns {
            if there.contains(&table.to_ascii_lowercase()) && find(table, column).is_none() {
                self.report(
                    format!("the table `{table}` has no column `{column}`"),
                    "add it with a migration, or leave it out of the model",
                );
            }
        }
        let standard = format!("x'{}'", Uuid::from(self.place.tenant).simple());
        for table in declared.of_kind(Kind::Tenant) {
            if !there.contains(&table.to_ascii_lowercase()) {
                continue;
            }
            match find(&table, TENANT_ID) {
                Some(column) if column.required && column.plain => {
                    let right =
                        column.standard.as_ref().is_some_and(|found| found.eq_ignore_ascii_case(&standard));
                    if !right {
                        self.report(
                            format!(
                                "the column `tenant_id` of table `{table}` does not get the tenant by default"
                            ),
                            format!("make the table again with DEFAULT {standard}"),
                        );
                    }
                }
                _ => self.report(
                    format!("the table `{table}` has no column `tenant_id` that is not null"),
                    "make the table again with a migration",
                ),
            }
        }
    }

    fn unique(&mut self, table: &str, index: &str, first: Option<&str>) {
        if self.kind(table) == Some(Kind::Tenant) && first != Some(TENANT_ID) {
            self.report(
                format!("the unique index `{index}` of table `{table}` is not led by `tenant_id`"),
                "make it again with `tenant_id` as its first column",
            );
        }
    }

    fn foreign(&mut self, table: &str, target: &str, led: bool) {
        let (kind, target_kind) = (self.kind(table), self.kind(target));
        if kind.is_some() && target_kind != Some(Kind::Reference) && !led {
            self.report(
                format!("a foreign key of table `{table}` refers to `{target}` without the tenant"),
                "make it again as a pair of columns that begins with `tenant_id` on both sides",
            );
        }
    }
}
