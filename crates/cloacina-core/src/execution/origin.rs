//! What the engine keeps with the input of an execution: where it comes from, and what it is called.
//!
//! It lies in the stored input, under keys that no input may have otherwise. So whoever gets the input has it
//! without another column, and an execution that has nothing of it costs nothing. Tasks do not see it in
//! their context.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::schedule::Fire;
use crate::workflow::RESERVED;

/// Under which key the stored input of an execution says by which fire of a schedule it was started.
pub(crate) const SCHEDULE_KEY: &str = "cloacina/schedule";

/// Under which key it says which execution it takes the place of.
const RERUN_KEY: &str = "cloacina/rerun";

/// Under which key it says its tags.
const TAGS_KEY: &str = "cloacina/tags";

/// Where an execution comes from, as far as that is worth saying.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The moment of a schedule that it was started for.
    pub(crate) fire: Option<Arc<Fire>>,
    pub(crate) rerun: Option<Lineage>,
    pub(crate) tags: Arc<[String]>,
}

/// What an execution takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lineage {
    /// The execution before it.
    pub(crate) of: Uuid,
    /// The execution whose idempotency tokens it goes on with; its own if there is none.
    pub(crate) first: Option<Uuid>,
}

impl Origin {
    /// Shared, if there is anything in it.
    pub(crate) fn in_use(self) -> Option<Arc<Self>> {
        (self != Self::default()).then(|| Arc::new(self))
    }

    /// Puts it into an input that is to be stored.
    pub(crate) fn put_into(&self, values: &mut BTreeMap<String, Value>) {
        let parts = [
            (SCHEDULE_KEY, self.fire.as_deref().map(serde_json::to_value)),
            (RERUN_KEY, self.rerun.map(serde_json::to_value)),
            (TAGS_KEY, (!self.tags.is_empty()).then(|| serde_json::to_value(&*self.tags))),
        ];
        for (key, part) in parts {
            if let Some(Ok(part)) = part {
                values.insert(key.to_owned(), part);
            }
        }
    }
}

/// The input of an execution, as tasks see it, and what the engine left in it.
pub(crate) fn taken_out(
    mut values: BTreeMap<String, Value>,
) -> (Arc<BTreeMap<String, Value>>, Option<Arc<Origin>>) {
    if reserved_key(&values).is_none() {
        return (Arc::new(values), None);
    }
    let fire = part::<Fire>(&mut values, SCHEDULE_KEY).map(Arc::new);
    let rerun = part(&mut values, RERUN_KEY);
    let tags = part::<Vec<String>>(&mut values, TAGS_KEY).unwrap_or_default().into();
    (Arc::new(values), Origin { fire, rerun, tags }.in_use())
}

/// What is stored may be anything.
fn part<T: for<'a> Deserialize<'a>>(values: &mut BTreeMap<String, Value>, key: &str) -> Option<T> {
    serde_json::from_value(values.remove(key)?).ok()
}

/// The first key of an input that only the engine may use.
pub(crate) fn reserved_key(values: &BTreeMap<String, Value>) -> Option<&str> {
    let (first, _) = values.range(RESERVED.to_owned()..).next()?;
    first.starts_with(RESERVED).then_some(first.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_into_an_input_is_taken_out_again_and_tasks_do_not_see_it() {
        let input = BTreeMap::from([("a".to_owned(), json!(1)), ("z".to_owned(), json!(2))]);
        assert_eq!(taken_out(input.clone()), (Arc::new(input.clone()), None));
        let rerun = Some(Lineage { of: Uuid::now_v7(), first: None });
        let origin = Origin { fire: None, rerun, tags: Arc::new(["red".to_owned()]) };
        let mut stored = input.clone();
        origin.put_into(&mut stored);
        assert_eq!(stored.len(), 4);
        assert_eq!(taken_out(stored), (Arc::new(input), Some(Arc::new(origin))));
    }

    #[test]
    fn what_cannot_be_read_of_it_is_as_if_it_was_not_there() {
        let stored = BTreeMap::from([(RERUN_KEY.to_owned(), json!(3)), (TAGS_KEY.to_owned(), json!("red"))]);
        assert_eq!(taken_out(stored), (Arc::default(), None));
    }

    #[test]
    fn keys_of_the_engine_are_told_from_others() {
        let of = |key: &str| BTreeMap::from([("a".to_owned(), json!(1)), (key.to_owned(), json!(1))]);
        assert_eq!(reserved_key(&of("cloacina/anything")), Some("cloacina/anything"));
        assert_eq!(reserved_key(&of("cloacina")), None);
        assert_eq!(reserved_key(&of("cloacinb")), None);
    }
}
