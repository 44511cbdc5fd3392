//! What the environment says about a runner.

#[cfg(feature = "postgres")]
use cloacina_core::store::PlaceName;
use cloacina_core::{Error, ErrorKind};

/// The place that is meant when no schema is given.
#[cfg(feature = "postgres")]
pub(super) fn default_place() -> Result<PlaceName, Error> {
    Ok(variable("DEFAULT_SCHEMA")?.map_or(PlaceName::Default, PlaceName::Named))
}

/// A variable of the environment; an empty one counts as not set.
pub(super) fn variable(name: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(configuration(&format!("{name} is not UTF-8"))),
    }
}

/// A variable that is a number.
pub(super) fn number<N: std::str::FromStr>(name: &str) -> Result<Option<N>, Error> {
    let Some(value) = variable(name)? else { return Ok(None) };
    match value.trim().parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(configuration(&format!(
            "{name} is `{}`, which is not a whole number in range",
            value.escape_debug()
        ))),
    }
}

/// A mistake in what the program or its environment says.
pub(super) fn configuration(message: &str) -> Error {
    Error::new(ErrorKind::Configuration, message)
}
