//! The one tenant of a file.

use cloacina_core::store::{Place, PlaceName, Result, StoreError, StoreErrorKind};

use crate::store::SqliteStore;

impl SqliteStore {
    pub(crate) fn find_place(&self, name: &PlaceName) -> Result<Place> {
        match name {
            PlaceName::Named(name) | PlaceName::Tenant(name) if *name != self.place().name => {
                Err(StoreError::new(
                    StoreErrorKind::Configuration,
                    format!(
                        "the SQLite file {} has no schemas, so there is no {name:?} in it; give each tenant a file of its own",
                        self.label_text()
                    ),
                ))
            }
            _ => Ok(self.place().clone()),
        }
    }

    /// A place of another file means that somebody mixed handles up.
    pub(crate) fn own(&self, place: &Place) -> Result<()> {
        if place.tenant == self.place().tenant {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Place,
            format!("the SQLite file {} is not the place of tenant {}", self.label_text(), place.tenant),
        ))
    }
}
