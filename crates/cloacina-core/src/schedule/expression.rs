//! Cron expressions and zones, read.

use std::str::FromStr;
use std::sync::LazyLock;

use croner::Cron;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::error::{Error, ErrorKind};
use crate::meant::meant;

/// The longest expression, in bytes.
const MAX_EXPRESSION: usize = 256;

/// The zones as the program was built with. The machine's own would let two processes disagree.
pub(super) static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Reads an expression.
pub(super) fn read(expression: &str) -> Result<Cron, Error> {
    let shown = expression.escape_debug();
    if expression.len() > MAX_EXPRESSION {
        return refuse(format!(
            "a cron expression of {} bytes is longer than {MAX_EXPRESSION}: give several, they add up",
            expression.len()
        ));
    }
    Cron::from_str(expression).or_else(|error| {
        refuse(format!(
            "the cron expression `{shown}` cannot be read ({error}): write minute, hour, day of month, month and day of week, \
             as in `0 2 * * MON-FRI`, or six fields with the second first"
        ))
    })
}

/// Finds a zone.
pub(super) fn zone(name: &str) -> Result<TimeZone, Error> {
    ZONES.get(name).or_else(|_| {
        let zones: Vec<_> = ZONES.available().collect();
        let hint = match meant(name, zones.iter().map(|zone| zone.as_str())) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None => ": write its name in the IANA database, as in `Europe/Zurich`, or `UTC`".to_owned(),
        };
        refuse(format!("there is no time zone `{}`{hint}", name.escape_debug()))
    })
}

/// An error about what a schedule says.
pub(crate) fn refuse<T>(message: impl Into<String>) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Configuration, message))
}
