//! What tasks are given beside their context.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::store::Place;

/// Makes what a task may ask for beside its context: each time for the place that the task runs in, so that
/// no task can ask for another tenant's.
pub trait Resources: Send + Sync + fmt::Debug + 'static {
    /// That of one tenant. Cheap: it is made for each attempt that asks.
    fn of(&self, place: &Arc<Place>) -> Arc<dyn Any + Send + Sync>;

    /// Whether it can also be made for tenants that have database logins of their own. Where it cannot,
    /// workflows with tasks that ask for it are left to runners that can.
    fn reaches_logins(&self) -> bool;
}
