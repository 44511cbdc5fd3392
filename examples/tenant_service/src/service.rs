//! What the routes share.

use std::time::Duration;

use cloacina::tenants::TenantManager;

use crate::Tokens;

/// The service: its tenants, and who may speak for which.
pub struct Service {
    pub(crate) manager: TenantManager,
    pub(crate) tokens: Tokens,
    pub(crate) patience: Duration,
}

impl Service {
    /// A service for the tenants of a manager. A request waits for the end of its workflow for `patience`;
    /// then it is told that it goes on.
    #[must_use]
    pub fn new(manager: TenantManager, tokens: Tokens, patience: Duration) -> Self {
        Self { manager, tokens, patience }
    }
}
