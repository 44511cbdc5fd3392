//! Keys of a context that are the engine's own.

use std::collections::BTreeMap;

use crate::workflow::RESERVED;

/// Under which key the stored input of an execution says by which fire of a schedule it was started. Tasks do
/// not see it in their context.
pub(crate) const SCHEDULE_KEY: &str = "cloacina/schedule";

/// Under which key it says which execution it is a child of.
pub(crate) const PARENT_KEY: &str = "cloacina/parent";

/// Under which key it says whose place it takes.
pub(crate) const RERUN_KEY: &str = "cloacina/rerun";

/// Under which key it says from where it is run again, as long as nobody with its code has met it.
pub(crate) const FROM_KEY: &str = "cloacina/rerun_from";

/// Under which key it says of what its idempotency tokens are made, if not of its own id.
pub(crate) const TOKEN_KEY: &str = "cloacina/token";

/// Under which key a value of the context says that it stands for a list that a task emitted.
pub(crate) const STREAM_KEY: &str = "cloacina/stream";

/// Under which key it says its tags.
pub(crate) const TAGS_KEY: &str = "cloacina/tags";

/// Under which key it says in which trace it was submitted.
pub(crate) const TRACE_KEY: &str = "cloacina/trace";

/// The first key of these values that only the engine may use.
pub(crate) fn reserved_key<T>(values: &BTreeMap<String, T>) -> Option<&str> {
    let (first, _) = values.range(RESERVED.to_owned()..).next()?;
    first.starts_with(RESERVED).then_some(first.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_engine_are_told_from_others() {
        let of = |key: &str| BTreeMap::from([("a".to_owned(), 1), (key.to_owned(), 1)]);
        assert_eq!(reserved_key(&of("cloacina/anything")), Some("cloacina/anything"));
        assert_eq!(reserved_key(&of("cloacina")), None);
        assert_eq!(reserved_key(&of("cloacinb")), None);
    }
}
