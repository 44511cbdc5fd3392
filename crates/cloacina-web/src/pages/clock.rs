//! What time it is.

use cloacina::Timestamp;

/// What time it is for what is shown beyond tenants.
#[expect(
    clippy::disallowed_methods,
    reason = "what is shown beside it belongs to no tenant, whose clock there would be"
)]
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
