//! What a running task emits, until its pages are written.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::id::{ExecutionId, TaskIndex};
use crate::reserved::STREAM_KEY;
use crate::store::{PAGE_BYTES, PAGE_ITEMS, Stream};

/// The most items of a list.
pub(super) const MOST_ITEMS: usize = 1_000_000;

/// The lists of an attempt, by their names.
pub(crate) type Streams = BTreeMap<String, Buffered>;

/// What of a list is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Buffered {
    /// Items as JSON, with commas between them.
    json: String,
    items: usize,
    /// How many there were before these.
    pub(crate) before: usize,
}

impl Buffered {
    /// How many items the list has.
    pub(crate) fn total(&self) -> usize {
        self.before + self.items
    }

    /// Whether a page is to be written before this item is added.
    pub(crate) fn is_full_for(&self, item: &str) -> bool {
        self.items >= PAGE_ITEMS || self.items > 0 && self.json.len() + item.len() > PAGE_BYTES
    }

    pub(crate) fn add(&mut self, item: &str) {
        if self.items > 0 {
            self.json.push(',');
        }
        self.json.push_str(item);
        self.items += 1;
    }

    /// The number of the first item that is not written, and the page of these; `None` if there is none.
    pub(crate) fn page(&self) -> Option<(usize, String)> {
        (self.items > 0).then(|| (self.before, format!("[{}]", self.json)))
    }

    /// It is written.
    pub(crate) fn written(&mut self) {
        *self = Self { before: self.total(), json: String::new(), items: 0 };
    }
}

/// What stands in the context for a list that was emitted.
#[derive(Serialize, Deserialize)]
struct Marker {
    execution: Uuid,
    task: TaskIndex,
    attempt: i32,
    name: String,
    items: usize,
}

pub(super) fn marker(stream: Stream, items: usize) -> Value {
    let Stream { execution, task, attempt, name } = stream;
    json!({ STREAM_KEY: Marker { execution: execution.into(), task, attempt, name, items } })
}

/// The list that a value of the context stands for, and how many items it has.
pub(super) fn emitted(value: &Value) -> Option<(Stream, usize)> {
    let marker = serde_json::from_value(value.get(STREAM_KEY)?.clone()).ok()?;
    let Marker { execution, task, attempt, name, items } = marker;
    Some((Stream { execution: ExecutionId(execution), task, attempt, name }, items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_full_at_a_thousand_items_or_four_mebibytes() {
        let mut buffered = Buffered::default();
        for _ in 0..PAGE_ITEMS {
            assert!(!buffered.is_full_for("1"));
            buffered.add("1");
        }
        assert!(buffered.is_full_for("1"));
        let (first, page) = buffered.page().unwrap();
        assert_eq!((first, serde_json::from_str::<Vec<u8>>(&page).unwrap().len()), (0, PAGE_ITEMS));
        buffered.written();
        assert_eq!((buffered.page(), buffered.total()), (None, PAGE_ITEMS));
        let large = format!("\"{}\"", "x".repeat(60_000));
        let mut items = 0;
        while !buffered.is_full_for(&large) {
            buffered.add(&large);
            items += 1;
        }
        assert_eq!(items, PAGE_BYTES / 60_003);
        assert!(buffered.page().unwrap().1.len() <= PAGE_BYTES + 2);
    }

    #[test]
    fn a_marker_is_told_from_other_values() {
        let stream = Stream { execution: ExecutionId::new(), task: 3, attempt: 2, name: "images".to_owned() };
        assert_eq!(emitted(&marker(stream.clone(), 7)), Some((stream, 7)));
        assert_eq!(emitted(&json!({"cloacina/stream": {"items": 3}})), None);
        assert_eq!(emitted(&json!([1])), None);
    }
}
