//! Whether a place's tables can become those of this program.

use cloacina_core::store::Place;

use crate::error::{DataError, DataErrorKind, Result};

/// `found` is the last migration of the place, `latest` that of this program.
pub(crate) fn check(place: &Place, found: i32, latest: i32) -> Result<()> {
    if found <= latest {
        return Ok(());
    }
    Err(DataError::new(
        DataErrorKind::Place,
        format!(
            "tenant `{}`: its tables were changed by a newer program, by migration {found}, and this one knows {latest} of them: use the newer \
             program",
            place.name
        ),
    ))
}
