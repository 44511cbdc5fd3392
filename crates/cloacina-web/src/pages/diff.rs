//! What a task changed in the context, key by key, with every digit as it is stored.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::Value;

use super::parts::text;

/// How deep objects are compared; what is deeper is shown as a whole.
const DEPTH: usize = 4;
/// How many lines are shown.
const LINES: usize = 100;
/// How much of a value is shown.
const LETTERS: usize = 400;

/// The values of a context.
pub(super) type Values = BTreeMap<String, Value>;

/// A line of a difference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// The key, with those of the objects around it.
    key: String,
    old: Option<Value>,
    new: Option<Value>,
}

/// What changes lead from a context to the next one.
pub(super) fn difference(before: &Values, changes: &BTreeMap<String, Option<Value>>) -> Vec<Line> {
    let mut lines = Vec::new();
    for (key, new) in changes {
        compare(key, before.get(key), new.as_ref(), DEPTH, &mut lines);
    }
    lines
}

fn compare(key: &str, old: Option<&Value>, new: Option<&Value>, depth: usize, lines: &mut Vec<Line>) {
    if old == new {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new)), 1..) = (old, new, depth) {
        let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for inner in keys {
            compare(&format!("{key}.{inner}"), old.get(inner), new.get(inner), depth - 1, lines);
        }
        return;
    }
    lines.push(Line { key: key.to_owned(), old: old.cloned(), new: new.cloned() });
}

/// Applies changes.
pub(super) fn apply(values: &mut Values, changes: &BTreeMap<String, Option<Value>>) {
    for (key, change) in changes {
        match change {
            Some(value) => drop(values.insert(key.clone(), value.clone())),
            None => drop(values.remove(key)),
        }
    }
}

/// How much a difference adds, changes and takes away: `+2 ~1 −1`.
pub(super) fn in_short(lines: &[Line]) -> String {
    let count = |of: fn(&Line) -> bool| lines.iter().filter(|line| of(line)).count();
    let (added, changed, removed) = (
        count(|line| line.old.is_none()),
        count(|line| line.old.is_some() && line.new.is_some()),
        count(|line| line.new.is_none()),
    );
    let parts = [('+', added), ('~', changed), ('−', removed)];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(sign, count)| format!("{sign}{count}"))
        .collect();
    parts.join(" ")
}

/// A value as it is stored, or how large it is.
pub(super) fn value(value: &Value, sees_payloads: bool) -> String {
    let json = value.to_string();
    if sees_payloads {
        return text::cut(&json, LETTERS);
    }
    format!("hidden, {}", text::bytes(json.len() as u64))
}

/// The difference as a table.
pub(super) fn show(caption: &str, lines: &[Line], sees_payloads: bool) -> Markup {
    let shown = |of: &Value| value(of, sees_payloads);
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table.diff {
                caption.vh { (caption) }
                tbody {
                    @for line in lines.iter().take(LINES) {
                        @match (&line.old, &line.new) {
                            (None, Some(new)) => tr.done { td { "+" } td { (line.key) } td { (shown(new)) } },
                            (Some(old), None) => tr.fail { td { "−" } td { (line.key) } td { del { (shown(old)) } } },
                            (Some(old), Some(new)) => tr.mind {
                                td { "~" } td { (line.key) } td { del { (shown(old)) } " → " (shown(new)) }
                            },
                            (None, None) => {}
                        }
                    }
                }
            }
        }
        @if lines.len() > LINES {
            p.note { (text::count((lines.len() - LINES) as u64, "more key", "more keys")) " changed." }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn values(of: &Value) -> Values {
        of.as_object().unwrap().clone().into_iter().collect()
    }

    #[test]
    fn a_difference_tells_keys_within_objects_and_keeps_every_digit() {
        let before = values(
            &json!({"run": {"id": 9_007_199_254_740_992_i64, "title": "a"}, "draft": true, "same": 1}),
        );
        let changes = BTreeMap::from([
            ("run".to_owned(), Some(json!({"id": 9_007_199_254_740_993_i64, "title": "a", "rate": 0.9312}))),
            ("draft".to_owned(), None),
            ("same".to_owned(), Some(json!(1))),
        ]);
        let lines = difference(&before, &changes);
        assert_eq!(in_short(&lines), "+1 ~1 −1");
        let shown = show("What a changed", &lines, true).into_string();
        assert!(shown.contains("<del>9007199254740992</del> → 9007199254740993"), "{shown}");
        assert!(shown.contains("<td>run.rate</td><td>0.9312</td>"), "{shown}");
        assert!(!shown.contains("same"), "{shown}");
        let mut after = before;
        apply(&mut after, &changes);
        assert_eq!(after.keys().collect::<Vec<_>>(), ["run", "same"]);
    }

    #[test]
    fn without_the_right_to_payloads_only_keys_and_sizes_are_told() {
        let changes = BTreeMap::from([("card".to_owned(), Some(json!({"number": "4111"})))]);
        let lines = difference(&values(&json!({"card": {"number": "5500"}})), &changes);
        let shown = show("What a changed", &lines, false).into_string();
        assert!(!shown.contains("4111") && !shown.contains("5500"), "{shown}");
        assert!(shown.contains("card.number") && shown.contains("hidden, 6 B"), "{shown}");
    }

    #[test]
    fn what_values_hold_is_escaped() {
        let changes = BTreeMap::from([("<b>".to_owned(), Some(json!("</td><script>")))]);
        let shown = show("x", &difference(&Values::new(), &changes), true).into_string();
        assert!(!shown.contains("<script>") && !shown.contains("<b>"), "{shown}");
    }
}
