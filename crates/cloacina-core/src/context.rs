//! The JSON object that flows through an execution.

use std::any::{Any, type_name};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, TaskError};
use crate::execution::{DependencyOutcome, TaskInfo};
use crate::json::{self, MAX_DEPTH};
use crate::origin::{Origin, Parent};
use crate::schedule::Fire;
use crate::state::Shared;
use crate::store::Payload;
use crate::workflow::StableHash;

/// The values of a context by key.
pub type Values<T = Value> = BTreeMap<String, T>;

/// The data of an execution: a JSON object that every task is given and may change.
///
/// A task sees the input of its execution overlaid by what all its ancestors changed. Only what the task
/// itself [`set`](Context::set) or [`remove`](Context::remove)d is stored; keys it did not touch stay as
/// they are, also when it returns a context that it made anew.
///
/// ```
/// use cloacina_core::Context;
///
/// let mut context = Context::new().with("city", "Rome");
/// context.set("population", 2_750_000);
/// assert_eq!(context.get::<String>("city").as_deref(), Some("Rome"));
/// assert_eq!(context.get::<u64>("area"), None);
/// ```
///
/// Cloning is cheap for what was not changed: clones share it.
#[derive(Clone)]
pub struct Context<T = Value> {
    base: Arc<Values<T>>,
    /// What was written on top of `base`; `None` is a removed key.
    changes: BTreeMap<String, Option<T>>,
    /// The first value that could not be serialised. It is kept because `with` and `set` cannot fail, and
    /// reported when the context is used.
    error: Option<ContextError>,
    task: Option<Arc<TaskInfo>>,
}

impl Context {
    /// An empty context.
    #[must_use]
    pub fn new() -> Self {
        Self::shared(Arc::default())
    }

    /// A context with the fields of a JSON object.
    ///
    /// # Errors
    ///
    /// [`ContextError::NotAnObject`] for any other JSON value, [`ContextError::Unstorable`] for one that is
    /// nested too deep to be stored.
    pub fn from_value(value: Value) -> Result<Self, ContextError> {
        match value {
            Value::Object(fields) => {
                let context = Self::from_values(Arc::new(fields.into_iter().collect()));
                context.error.clone().map_or(Ok(context), Err)
            }
            other => Err(ContextError::NotAnObject { found: kind_of(&other) }),
        }
    }

    /// A context that shares `values`.
    ///
    /// If one of them is nested too deep to be stored, the context is empty, and the error is returned by
    /// what uses it, as with [`set`](Self::set).
    #[must_use]
    pub fn from_values(values: Arc<Values>) -> Self {
        let Some(key) = values.iter().find(|(_, value)| json::is_too_deep(value)).map(|(key, _)| key.clone())
        else {
            return Self::shared(values);
        };
        if let Ok(values) = Arc::try_unwrap(values) {
            values.into_values().for_each(json::dismantle);
        }
        let error = Some(ContextError::Unstorable { key, what: json::TOO_DEEP });
        Self { error, ..Self::shared(Arc::default()) }
    }

    /// The same for values that were stored before.
    pub(crate) fn shared(values: Arc<Values>) -> Self {
        Self { base: values, changes: BTreeMap::new(), error: None, task: None }
    }

    /// The context that a task is given.
    #[must_use]
    pub(crate) fn for_task(values: Arc<Values>, task: Arc<TaskInfo>) -> Self {
        Self { task: Some(task), ..Self::shared(values) }
    }

    /// This context with `key` set; see [`set`](Self::set).
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        self.set(key, value);
        self
    }

    /// This context with `key` set.
    ///
    /// # Errors
    ///
    /// [`ContextError::NotSerializable`] if `value` has no JSON form; see [`set`](Self::set).
    pub fn try_with(mut self, key: impl Into<String>, value: impl Serialize) -> Result<Self, ContextError> {
        self.try_set(key, value)?;
        Ok(self)
    }

    /// Sets `key` to the JSON form of `value`.
    ///
    /// A value that has none leaves the context as it is: a map with keys that are not strings, a float that
    /// is NaN or infinite, anything nested more than 100 levels deep. The first such error is returned by
    /// `execute`, or fails the attempt of the task that caused it.
    pub fn set(&mut self, key: impl Into<String>, value: impl Serialize) {
        if let Err(error) = self.try_set(key, value) {
            self.error.get_or_insert(error);
        }
    }

    /// Sets `key` to the JSON form of `value`.
    ///
    /// # Errors
    ///
    /// [`ContextError::NotSerializable`] if `value` has none; the context is as before.
    pub fn try_set(&mut self, key: impl Into<String>, value: impl Serialize) -> Result<(), ContextError> {
        let key = key.into();
        match json::to_value(&value) {
            Ok(value) => {
                self.changes.insert(key, Some(value));
                Ok(())
            }
            Err(source) => Err(ContextError::NotSerializable { key, reason: source.to_string() }),
        }
    }

    /// Removes `key`, for this task and all that follow it.
    pub fn remove(&mut self, key: &str) {
        if self.base.contains_key(key) {
            self.changes.insert(key.to_owned(), None);
        } else {
            self.changes.remove(key);
        }
    }

    /// The value of `key` as a `V`; `None` if there is none or it does not fit. [`try_get`](Self::try_get)
    /// says why.
    #[must_use]
    pub fn get<V: DeserializeOwned>(&self, key: &str) -> Option<V> {
        self.try_get(key).ok()
    }

    /// The value of `key` as a `V`.
    ///
    /// # Errors
    ///
    /// [`ContextError::Missing`] if there is none, [`ContextError::WrongType`] if it does not fit.
    pub fn try_get<V: DeserializeOwned>(&self, key: &str) -> Result<V, ContextError> {
        let value = self.value(key).ok_or_else(|| ContextError::Missing { key: key.to_owned() })?;
        V::deserialize(value).map_err(|source| ContextError::WrongType {
            key: key.to_owned(),
            reason: json::mismatch(&source),
        })
    }

    /// The value of `key` as it is.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&Value> {
        match self.changes.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key),
        }
    }

    /// The keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let unchanged = self.base.iter().filter(|(key, _)| !self.changes.contains_key(*key));
        let changed = self.changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let mut all: Vec<_> = unchanged.chain(changed).map(|(key, value)| (key.as_str(), value)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all.into_iter()
    }

    /// The context as a JSON object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect())
    }

    /// What runs this context: execution, task, attempt, idempotency token, cancellation.
    ///
    /// # Panics
    ///
    /// Outside a task, where there is nothing to tell; [`try_task`](Self::try_task) does not. A unit test
    /// tells something by [`in_task`](Self::in_task).
    #[must_use]
    pub fn task(&self) -> &TaskInfo {
        self.try_task().expect("Context::task is for code that runs as a task: in a unit test, call `context.in_task(TaskInfo::for_test(…))` before")
    }

    /// What runs this context, if a task does.
    #[must_use]
    pub fn try_task(&self) -> Option<&TaskInfo> {
        self.task.as_deref()
    }

    /// The moment of a schedule that the execution was started for; `None` if no schedule started it, and
    /// outside a task.
    ///
    /// ```
    /// # use cloacina_core::Context;
    /// # fn report(context: &Context) -> Option<()> {
    /// let fire = context.schedule()?;
    /// println!("{} from {:?} to {}", fire.name, fire.previous, fire.nominal);
    /// # None }
    /// ```
    #[must_use]
    pub fn schedule(&self) -> Option<&Fire> {
        self.try_task().and_then(TaskInfo::schedule)
    }

    /// How a task ended that comes before the one that runs this context: see [`TaskInfo::outcome_of`].
    /// `None` if none of this id does, and outside a task.
    #[must_use]
    pub fn outcome_of(&self, task: &str) -> Option<DependencyOutcome> {
        self.try_task().and_then(|running| running.outcome_of(task))
    }

    /// The input of the execution, apart from what tasks changed since. Outside a task it is empty.
    #[must_use]
    pub fn input(&self) -> Self {
        self.try_task().map(TaskInfo::input).unwrap_or_default()
    }

    /// The tags of the execution; none outside a task.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        self.try_task().map_or(&[], TaskInfo::tags)
    }

    /// The execution that this one is a child of; `None` if it is none, and outside a task.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.try_task().and_then(TaskInfo::parent)
    }

    /// This context as that of a task, for unit tests of tasks that ask [`task`](Self::task): see
    /// [`TaskInfo::for_test`].
    #[must_use]
    pub fn in_task(mut self, task: TaskInfo) -> Self {
        self.task = Some(Arc::new(task));
        self
    }

    /// What a task asks for as `&T`.
    ///
    /// # Errors
    ///
    /// A fatal one if its runner was not given a value of this type.
    #[doc(hidden)]
    pub fn lent<T: Shared>(&self) -> Result<Arc<T>, TaskError> {
        let task = self.task.as_ref().ok_or_else(|| TaskError::fatal("the context is no running task's"))?;
        if let Ok(task) = (Arc::clone(task) as Arc<dyn Any + Send + Sync>).downcast() {
            return Ok(task);
        }
        task.state.get(&task.place.name).ok_or_else(|| {
            let (task, tenant, name) = (&task.task_id, &task.place.name, type_name::<T>());
            TaskError::fatal(format!(
                "task `{task}` asks for a `{name}`, which the runner of tenant `{tenant}` was not given: add `.state(…)` where it is built"
            ))
        })
    }

    /// The values with all changes applied.
    pub(crate) fn into_values(self) -> Result<Arc<Values>, ContextError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut values = self.base;
        if !self.changes.is_empty() {
            Patch { changes: self.changes }.apply(Arc::make_mut(&mut values));
        }
        Ok(values)
    }

    /// What was changed since the context was handed out.
    pub(crate) fn into_patch(self) -> Result<Patch, ContextError> {
        match self.error {
            Some(error) => Err(error),
            None => Ok(Patch { changes: self.changes }),
        }
    }
}

/// What needs both a context and what runs it.
impl TaskInfo {
    /// A token that is the same in every attempt of this task of this execution, also when it is
    /// [rerun](crate::rerun), and nowhere else: hand it to services that drop repeated requests.
    ///
    /// It is the UUID of version 5 over the id of the first execution of a chain of reruns and the id of the
    /// task. A rerun [from the start](crate::rerun::From::Start) is the first of a new chain. In a child,
    /// what stands for the id is made of that of its parent, the node and the item, and of its input: when a
    /// parent is rerun, its children have the tokens of before, as long as they are about the same.
    #[must_use]
    pub fn idempotency_token(&self) -> Uuid {
        let base = token_base(&self.origin, self.execution_id, &self.input);
        Uuid::new_v5(&base, self.task_id.as_bytes())
    }

    /// As of an execution with this input, for tests; it has none otherwise.
    ///
    /// # Errors
    ///
    /// The first value of the input that has no JSON form.
    pub fn with_input(mut self, input: Context) -> Result<Self, ContextError> {
        self.input = input.into_values()?;
        Ok(self)
    }

    /// The input of the execution, whatever tasks changed since.
    #[must_use]
    pub fn input(&self) -> Context {
        Context::shared(Arc::clone(&self.input))
    }
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

/// The keys and what kind of value they have. The values may be secrets.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, Kind(value)))).finish()
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Serialize for Context {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// What can be told of a value without telling it.
struct Kind<'a>(&'a Value);

impl fmt::Debug for Kind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => write!(f, "a string of {} bytes", text.len()),
            Value::Array(items) => write!(f, "an array of {}", items.len()),
            Value::Object(fields) => write!(f, "an object of {}", fields.len()),
            value => f.write_str(kind_of(value)),
        }
    }
}

/// Of what the idempotency tokens of an execution are made.
pub(crate) fn token_base(origin: &Origin, execution: Uuid, input: &Values) -> Uuid {
    match (origin.token, &origin.parent) {
        (Some(token), _) => token,
        (None, Some(parent)) => token_of_child(parent.execution_id, &parent.node, parent.item, input),
        (None, None) => execution,
    }
}

/// The same for a child, by that of its parent.
pub(crate) fn token_of_child(parent: Uuid, node: &str, item: u64, input: &Values) -> Uuid {
    Uuid::new_v5(&parent, format!("{node}/{item}/{}", hash_of(input)).as_bytes())
}

/// What one task changed in the context.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Patch {
    changes: BTreeMap<String, Option<Value>>,
}

impl fmt::Debug for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.changes.iter().map(|(key, change)| (key, change.as_ref().map(Kind)));
        f.debug_map().entries(changes).finish()
    }
}

/// How a patch is stored.
#[derive(Serialize, Deserialize)]
struct StoredPatch<M> {
    set: M,
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    removed: Vec<String>,
}

impl Patch {
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(crate) fn set(&mut self, key: String, value: Value) {
        self.changes.insert(key, Some(value));
    }

    /// What was set, and what was removed.
    pub(crate) fn changes(&self) -> &BTreeMap<String, Option<Value>> {
        &self.changes
    }

    pub(crate) fn apply(&self, values: &mut Values) {
        for (key, change) in &self.changes {
            match change {
                Some(value) => {
                    values.insert(key.clone(), value.clone());
                }
                None => {
                    values.remove(key);
                }
            }
        }
    }

    /// The stored form: `{"set": {…}, "removed": […]}`.
    pub(crate) fn to_json(&self) -> Result<String, ContextError> {
        check_values(self.changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))))?;
        let set: BTreeMap<&String, &Value> =
            self.changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))).collect();
        let removed: Vec<String> =
            self.changes.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.clone()).collect();
        to_json(&StoredPatch { set, removed })
    }

    /// The stored form, if it is not longer than `limit` bytes.
    pub(crate) fn stored(&self, limit: usize) -> Result<Payload, ContextError> {
        let json = self.to_json()?;
        if json.len() > limit {
            return Err(ContextError::TooLarge { what: CHANGE, size: json.len(), limit });
        }
        Ok(json.into())
    }

    /// The stored form of a change that sets one key. The value is JSON that others may have written.
    pub(crate) fn of_one(key: &str, value: &str) -> Result<Payload, ContextError> {
        let value: Value = from_json(value)?;
        let patch = Self { changes: std::iter::once((key.to_owned(), Some(value))).collect() };
        Ok(patch.to_json()?.into())
    }

    pub(crate) fn from_json(json: &str) -> Result<Self, ContextError> {
        let stored: StoredPatch<BTreeMap<String, Value>> = from_json(json)?;
        let set = stored.set.into_iter().map(|(key, value)| (key, Some(value)));
        Ok(Self { changes: set.chain(stored.removed.into_iter().map(|key| (key, None))).collect() })
    }
}

/// The stored form of what a signal brings. `name` is for messages.
pub(crate) fn payload_of(name: &str, value: impl Serialize, limit: usize) -> Result<Payload, ContextError> {
    let value = json::to_value(&value).map_err(|source| ContextError::NotSerializable {
        key: name.to_owned(),
        reason: source.to_string(),
    })?;
    check_value(name, &value, 0)?;
    let json = to_json(&value)?;
    if json.len() > limit {
        return Err(ContextError::TooLarge { what: "payload of the signal", size: json.len(), limit });
    }
    Ok(json.into())
}

/// The stored form of an execution's input.
pub(crate) fn values_to_json(values: &Values) -> Result<String, ContextError> {
    check_values(values)?;
    to_json(values)
}

pub(crate) fn values_from_json(json: &str) -> Result<Values, ContextError> {
    from_json(json)
}

/// A hash that is the same for equal values, whatever the order of their fields, and for the same number
/// however it is written; `1` and `1.0` are two.
pub(crate) fn hash_of(values: &Values) -> i64 {
    hash_fields(StableHash::new(), values).finish()
}

fn hash_value(hash: StableHash, value: &Value) -> StableHash {
    match value {
        Value::Null => hash.bytes(b"n"),
        Value::Bool(value) => hash.bytes(if *value { b"t" } else { b"f" }),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => hash.bytes(b"i").bytes(&number.to_le_bytes()),
            (_, Some(number), _) => hash.bytes(b"u").bytes(&number.to_le_bytes()),
            (.., number) => hash.bytes(b"d").bytes(&number.unwrap_or(f64::NAN).to_bits().to_le_bytes()),
        },
        Value::String(text) => hash.bytes(b"s").text(text),
        Value::Array(items) => items.iter().fold(hash.bytes(b"a").number(items.len()), hash_value),
        Value::Object(fields) => hash_fields(hash, fields),
    }
}

fn hash_fields<'a>(
    hash: StableHash,
    fields: impl IntoIterator<Item = (&'a String, &'a Value)>,
) -> StableHash {
    // Their order is that in which they were added if any crate of the program turns on serde_json's
    // `preserve_order`.
    let mut fields: Vec<_> = fields.into_iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    let hash = hash.bytes(b"o").number(fields.len());
    fields.into_iter().fold(hash, |hash, (name, field)| hash_value(hash.text(name), field))
}

fn to_json(value: &impl Serialize) -> Result<String, ContextError> {
    serde_json::to_string(value).map_err(|source| ContextError::Invalid { reason: source.to_string() })
}

fn from_json<V: DeserializeOwned>(json: &str) -> Result<V, ContextError> {
    serde_json::from_str(json).map_err(|source| ContextError::Invalid { reason: source.to_string() })
}

/// Refuses what not every database can keep, before it gets there: a NUL character, numbers outside the range
/// of a double (they exist when another crate turns on serde_json's `arbitrary_precision`), and what is
/// nested too deep to be read again.
fn check_values<'a>(values: impl IntoIterator<Item = (&'a String, &'a Value)>) -> Result<(), ContextError> {
    values.into_iter().try_for_each(|(key, value)| {
        check_text(key, key)?;
        check_value(key, value, 0)
    })
}

fn check_value(key: &str, value: &Value, depth: usize) -> Result<(), ContextError> {
    if depth > MAX_DEPTH {
        return Err(ContextError::Unstorable { key: key.to_owned(), what: json::TOO_DEEP });
    }
    match value {
        Value::String(text) => check_text(key, text),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(key, item, depth + 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            check_text(key, name)?;
            check_value(key, field, depth + 1)
        }),
        Value::Number(number) if !number.as_f64().is_some_and(f64::is_finite) => {
            Err(ContextError::Unstorable {
                key: key.to_owned(),
                what: "a number outside the range of a 64-bit float",
            })
        }
        Value::Number(_) | Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn check_text(key: &str, text: &str) -> Result<(), ContextError> {
    if text.contains('\0') {
        return Err(ContextError::Unstorable {
            key: key.replace('\0', "\\u0000"),
            what: "the character \\u0000",
        });
    }
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// What a task is told has become too large.
const CHANGE: &str = "change that the task made to the context";

/// What a submitter is told is too large.
pub(crate) const INPUT: &str = "input of the execution";

/// The setting that raises a limit.
fn by_setting(what: &str) -> &'static str {
    match what {
        INPUT => " (max_context_bytes)",
        CHANGE => " (max_patch_bytes)",
        _ => "",
    }
}

/// Why a context, or a value in it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The JSON value is not an object.
    #[error("a context is a JSON object, not {found}")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// A value has no JSON form.
    #[error("the value of `{key}` cannot be written as JSON: {reason}")]
    NotSerializable {
        /// The key it was to be stored under.
        key: String,
        /// What serde said.
        reason: String,
    },
    /// There is no such key.
    #[error("the context has no `{key}`")]
    Missing {
        /// The key asked for.
        key: String,
    },
    /// The value is of another type than the one asked for.
    #[error("the value of `{key}` does not fit the type asked for: {reason}")]
    WrongType {
        /// The key asked for.
        key: String,
        /// What serde said, without the value.
        reason: String,
    },
    /// A value that not every database can keep.
    #[error("the value of `{key}` contains {what}, which cannot be stored")]
    Unstorable {
        /// The key of the context under which it lies.
        key: String,
        /// What is in it.
        what: &'static str,
    },
    /// The JSON form is larger than the limit.
    #[error(
        "the {what} has {size} bytes of JSON, more than the {limit} allowed{}; store large data elsewhere and \
         pass its address",
        by_setting(what)
    )]
    TooLarge {
        /// `input` or `patch`.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The most that is allowed, in bytes.
        limit: usize,
    },
    /// Stored data that is no context.
    #[error("not a stored context: {reason}")]
    Invalid {
        /// What serde said.
        reason: String,
    },
}

impl From<ContextError> for Error {
    fn from(error: ContextError) -> Self {
        Self::new(ErrorKind::Context, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hash(value: &Value) -> i64 {
        hash_value(StableHash::new(), value).finish()
    }

    #[test]
    fn the_order_of_fields_changes_no_hash() {
        let (a, b) = (("a".to_owned(), json!(1)), ("b".to_owned(), json!({"c": [2]})));
        let hash = |fields: [&(String, Value); 2]| {
            hash_fields(StableHash::new(), fields.map(|(name, value)| (name, value))).finish()
        };
        assert_eq!(hash([&a, &b]), hash([&b, &a]));
        assert_ne!(hash([&a, &b]), hash([&a, &a]));
    }

    #[test]
    fn values_that_differ_have_different_hashes() {
        let values = [
            json!(null),
            json!(true),
            json!(false),
            json!(1),
            json!(1.0),
            json!(-1),
            json!(u64::MAX),
            json!(""),
            json!("1"),
            json!([]),
            json!([1]),
            json!([[1], 2]),
            json!([[1, 2]]),
            json!({}),
            json!({"a": 1}),
            json!({"a": {"b": 1}}),
            json!({"a": {}, "b": 1}),
        ];
        for (n, value) in values.iter().enumerate() {
            assert!(values[..n].iter().all(|other| hash(other) != hash(value)), "{value}");
        }
    }

    #[test]
    fn a_value_that_is_nested_too_deep_makes_no_context() {
        let deep = |depth| (0..depth).fold(json!(1), |value, _| Value::Array(vec![value]));
        let fields = |depth| Value::Object([("deep".to_owned(), deep(depth))].into_iter().collect());
        assert!(Context::from_value(fields(MAX_DEPTH)).is_ok());
        let error = Context::from_value(fields(1_000_000)).unwrap_err();
        assert_eq!(error, ContextError::Unstorable { key: "deep".to_owned(), what: json::TOO_DEEP });
        let values = Arc::new(BTreeMap::from([("deep".to_owned(), deep(1_000_000))]));
        assert_eq!(Context::from_values(values).into_values().unwrap_err(), error);
    }

    #[test]
    fn what_is_shown_for_debugging_holds_no_value() {
        let mut context = Context::new().with("card", "4111").with("limits", [4111]).with("n", 4111);
        context.set("more", json!({"x": "4111"}));
        let shown = format!("{context:?}");
        assert_eq!(
            shown,
            r#"{"card": a string of 4 bytes, "limits": an array of 1, "more": an object of 1, "n": a number}"#
        );
        assert!(!format!("{:?}", context.into_patch().unwrap()).contains("4111"));
    }
}
