//! Keys of a context that are the engine's own.

use std::collections::BTreeMap;

/// Under which key the stored input of an execution says by which fire of a schedule it was started. Tasks do
/// not see it in their context.
pub(crate) const SCHEDULE_KEY: &str = "cloacina/schedule";

/// Under which key it says which execution it is a child of.
pub(crate) const PARENT_KEY: &str = "cloacina/parent";

/// The key of the engine that these values have, if any.
pub(crate) fn reserved_key<T>(values: &BTreeMap<String, T>) -> Option<&'static str> {
    [SCHEDULE_KEY, PARENT_KEY].into_iter().find(|key| values.contains_key(*key))
}
