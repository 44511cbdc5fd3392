//! What the routes share.

use std::time::Duration;

use cloacina::tenants::TenantManager;
use cloacina_web::ApiKeys;

/// The service: its tenants, and the keys that let callers in.
pub struct Service {
    pub(crate) manager: TenantManager,
    pub(crate) keys: ApiKeys,
    pub(crate) patience: Duration,
}

impl Service {
    /// A service for the tenants of a manager, and the keys that are kept beside them. A request waits for
    /// the end of its workflow for `patience`; then the caller is told that it goes on.
    #[must_use]
    pub fn new(manager: TenantManager, patience: Duration) -> Self {
        let keys = ApiKeys::new(manager.keys());
        Self { manager, keys, patience }
    }
}
