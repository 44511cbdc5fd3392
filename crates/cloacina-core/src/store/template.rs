//! Schedules that all tenants have.

use async_trait::async_trait;
use jiff::Timestamp;

use super::{NewAudit, StoreError};

/// The schedules of one origin that all tenants have, as they are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleTemplates {
    /// The origin.
    pub origin: String,
    /// JSON.
    pub schedules: String,
}

/// Where templates of schedules are kept: beside what is known of all tenants, where no tenant's login comes.
///
/// `now` is `None` in production, as in [`Store`](super::Store).
#[async_trait]
pub trait TemplateStore: Send + Sync + 'static {
    /// Keeps those of an origin in place of the ones before; without any it is forgotten.
    async fn template_put(
        &self,
        templates: &ScheduleTemplates,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Those of all origins, in their order.
    async fn template_list(&self) -> Result<Vec<ScheduleTemplates>, StoreError>;
}
