//! Where a list goes on.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// Where the next part of a list begins: behind an element of it. Its text may go round by way of a caller,
/// a link say; what was made up is refused, or leads to some place of the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) major: u128,
    pub(crate) minor: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.major, self.minor)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parsed = text.split_once('.').and_then(|(major, minor)| {
            // The standard library would take a sign.
            let is_plain = !major.is_empty() && major.bytes().all(|byte| byte.is_ascii_hexdigit());
            let major = is_plain.then(|| u128::from_str_radix(major, 16).ok()).flatten()?;
            Some(Self { major, minor: minor.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            let shown: String = text.chars().take(60).collect();
            let message = format!(
                "`{}` is no place in a list: take the one that the part before ended with",
                shown.escape_debug()
            );
            Error::new(ErrorKind::Configuration, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Cursor;

    #[test]
    fn a_cursor_goes_round_as_text() {
        for cursor in [
            Cursor { major: 0, minor: 0 },
            Cursor { major: u128::MAX, minor: i64::MIN },
            Cursor { major: 7, minor: i64::MAX },
        ] {
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
    }

    #[test]
    fn what_was_made_up_is_refused() {
        let long = "f".repeat(33) + ".0";
        for wrong in ["", ".", "1", "1.", ".1", "+1.1", "g.0", "1.1.1", "1.9223372036854775808", &long, "ü.1"]
        {
            assert!(wrong.parse::<Cursor>().is_err(), "{wrong}");
        }
    }
}
