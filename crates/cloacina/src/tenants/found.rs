//! What was found in the places of many tenants.

use cloacina_core::Error;
use cloacina_core::store::StoreError;

/// What the places of many tenants hold.
#[derive(Debug)]
#[non_exhaustive]
pub struct Across<T> {
    /// The rows, each with the name of its tenant.
    pub found: Vec<(String, T)>,
    /// The tenants whose places could not be read, and why: their rows are not among these.
    pub unreadable: Vec<(String, Error)>,
}

impl<T> Default for Across<T> {
    fn default() -> Self {
        Self { found: Vec::new(), unreadable: Vec::new() }
    }
}

/// What the store found of each tenant, and which could not be read.
type Read<Row> = (Vec<(String, Row)>, Vec<(String, StoreError)>);

impl<T> Across<T> {
    pub(super) fn add<Row>(&mut self, (found, unreadable): Read<Row>, read: impl Fn(Row) -> T) {
        self.found.extend(found.into_iter().map(|(tenant, row)| (tenant, read(row))));
        self.unreadable.extend(unreadable.into_iter().map(|(tenant, error)| (tenant, error.into())));
    }

    /// What came of a tenant whose runner was asked.
    #[cfg(feature = "postgres")]
    pub(super) fn add_of(&mut self, tenant: &str, rows: Result<Vec<T>, Error>) {
        match rows {
            Ok(rows) => self.found.extend(rows.into_iter().map(|row| (tenant.to_owned(), row))),
            Err(error) => self.unreadable.push((tenant.to_owned(), error)),
        }
    }
}
