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

/// How far the templates have come to tenants that nobody opens, who are gone through in the order of their
/// names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rollout {
    /// All tenants have them.
    Done,
    /// Another process is at it.
    Elsewhere,
    /// They are to be given to the tenants behind this name. Whoever took this has a minute; then another may
    /// go on.
    Next {
        /// The last tenant that has all of them; empty at the beginning.
        after: String,
        /// Which templates: each origin, and how often it was changed.
        versions: Vec<(String, i64)>,
    },
}

/// Where templates of schedules are kept: beside what is known of all tenants, where no tenant's login comes.
///
/// `now` is `None` in production, as in [`Store`](super::Store).
#[async_trait]
pub trait TemplateStore: Send + Sync + 'static {
    /// Keeps those of an origin in place of the ones before. If they differ, their rollout begins anew.
    async fn template_put(
        &self,
        templates: &ScheduleTemplates,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Those of all origins that have any, in their order.
    async fn template_list(&self) -> Result<Vec<ScheduleTemplates>, StoreError>;

    /// Takes the rollout, unless it is done or another process has it.
    async fn rollout_take(&self, now: Option<Timestamp>) -> Result<Rollout, StoreError>;

    /// All tenants up to this one have the templates of these versions; all tenants, where it is `None`. What
    /// was changed meanwhile is not meant. The rollout is kept for another minute, until it is done.
    async fn rollout_note(
        &self,
        versions: &[(String, i64)],
        last: Option<&str>,
        now: Option<Timestamp>,
    ) -> Result<(), StoreError>;
}
