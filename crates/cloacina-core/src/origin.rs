//! What started an execution, if the engine did.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::reserved::{
    FROM_KEY, PARENT_KEY, RERUN_KEY, SCHEDULE_KEY, TAGS_KEY, TOKEN_KEY, TRACE_KEY, reserved_key,
};
use crate::schedule::Fire;
use crate::trace::traceparent;

/// What an execution knows of the one that it is a [child](crate::workflow::Wait::child) of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Parent {
    /// The execution that waits for it.
    #[serde(rename = "execution")]
    pub execution_id: Uuid,
    /// The node that waits there.
    pub node: String,
    /// Which item of the list of a [map](crate::workflow::Wait::map) it is about, from 0.
    pub item: u64,
    /// How many executions are above it; 1 for the child of one that has no parent.
    pub depth: u16,
}

impl Parent {
    /// What a task is told in a unit test: it runs for this item of the node of some execution.
    #[must_use]
    pub fn for_test(node: impl Into<String>, item: u64) -> Self {
        Self { execution_id: Uuid::now_v7(), node: node.into(), item, depth: 1 }
    }
}

/// What started an execution: a moment of a schedule, or another execution; whose place it takes, and what it
/// is called.
///
/// It lies in the stored input. So whoever gets the input has it without another column, and an execution
/// that has nothing of it costs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) fire: Option<Arc<Fire>>,
    pub(crate) parent: Option<Arc<Parent>>,
    /// The execution whose place it takes.
    pub(crate) rerun_of: Option<Uuid>,
    /// From where it is run again, if whoever recorded it did not have the code: a
    /// [`From`](crate::rerun::From) as it is stored.
    pub(crate) from: Option<Arc<str>>,
    /// Of what its idempotency tokens are made, if that is said: see
    /// [`token_base`](crate::context::token_base).
    pub(crate) token: Option<Uuid>,
    pub(crate) tags: Option<Arc<[String]>>,
    /// In which trace it was submitted: a [`traceparent`](crate::trace::traceparent).
    pub(crate) trace: Option<Arc<str>>,
}

impl Origin {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts it into an input that is to be stored.
    pub(crate) fn put_into(&self, values: &mut BTreeMap<String, Value>) {
        let parts = [
            (SCHEDULE_KEY, self.fire.as_deref().map(serde_json::to_value)),
            (PARENT_KEY, self.parent.as_deref().map(serde_json::to_value)),
            (RERUN_KEY, self.rerun_of.map(serde_json::to_value)),
            (FROM_KEY, self.from.as_deref().map(serde_json::to_value)),
            (TOKEN_KEY, self.token.map(serde_json::to_value)),
            (TAGS_KEY, self.tags.as_deref().map(serde_json::to_value)),
            (TRACE_KEY, self.trace.as_deref().map(serde_json::to_value)),
        ];
        for (key, part) in parts {
            if let Some(Ok(part)) = part {
                values.insert(key.to_owned(), part);
            }
        }
    }

    /// Whether something may follow from how the execution ended. A rerun starts what the execution before it
    /// did when it failed.
    pub(crate) fn is_known(&self) -> bool {
        self.fire.is_some() || self.parent.is_some() || self.rerun_of.is_some()
    }
}

/// The input of an execution, as tasks see it.
type Input = Arc<BTreeMap<String, Value>>;

/// Takes what the engine left in an input out of it.
pub(crate) fn taken_out(mut values: BTreeMap<String, Value>) -> (Input, Origin) {
    if reserved_key(&values).is_none() {
        return (Arc::new(values), Origin::default());
    }
    let fire = part(&mut values, SCHEDULE_KEY).map(Arc::new);
    let parent = part(&mut values, PARENT_KEY).map(Arc::new);
    let (rerun_of, token) = (part(&mut values, RERUN_KEY), part(&mut values, TOKEN_KEY));
    let from = part(&mut values, FROM_KEY).map(|from: String| from.into());
    let tags = part(&mut values, TAGS_KEY).map(|tags: Vec<String>| tags.into());
    let trace = part(&mut values, TRACE_KEY).and_then(|trace: String| traceparent(&trace));
    (Arc::new(values), Origin { fire, parent, rerun_of, from, token, tags, trace })
}

/// What is stored may be anything.
fn part<T: for<'a> Deserialize<'a>>(values: &mut BTreeMap<String, Value>, key: &str) -> Option<T> {
    serde_json::from_value(values.remove(key)?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_put_into_an_input_is_taken_out_again_and_tasks_do_not_see_it() {
        let input = BTreeMap::from([("a".to_owned(), json!(1)), ("z".to_owned(), json!(2))]);
        assert_eq!(taken_out(input.clone()), (Arc::new(input.clone()), Origin::default()));
        let (rerun_of, token) = (Some(Uuid::now_v7()), Some(Uuid::now_v7()));
        let parent = Some(Arc::new(Parent::for_test("resize", 3)));
        let (from, tags) = (Some("task/a".into()), Some(Arc::new(["red".to_owned()]) as Arc<[String]>));
        let trace = traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let origin = Origin { fire: None, parent, rerun_of, from, token, tags, trace };
        let mut stored = input.clone();
        origin.put_into(&mut stored);
        assert_eq!(stored.len(), 8);
        assert_eq!(taken_out(stored), (Arc::new(input), origin));
    }

    #[test]
    fn what_cannot_be_read_of_it_is_as_if_it_was_not_there() {
        let stored = BTreeMap::from([(RERUN_KEY.to_owned(), json!(3)), (TAGS_KEY.to_owned(), json!("red"))]);
        assert_eq!(taken_out(stored), (Arc::default(), Origin::default()));
    }
}
