//! What time it is.

use jiff::Timestamp;

/// What time it is for what belongs to no tenant, whose clock there would be.
#[expect(clippy::disallowed_methods, reason = "what is timed by it belongs to no tenant")]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
