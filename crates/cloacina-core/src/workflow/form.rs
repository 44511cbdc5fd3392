//! What the functions of tasks take and return. The output of `#[task]` names it.

use std::any::Any;

use serde::Serialize;
use serde::de::value::MapDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::context::Context;
use crate::error::TaskError;
use crate::json;

/// What a task takes first, by value.
#[diagnostic::on_unimplemented(
    message = "a task cannot take a `{Self}` as its input",
    label = "neither a `Context` nor `Deserialize`",
    note = "a task first takes `context: Context`, `context: &mut Context`, or a type of your own that is `Deserialize` and `Send`, which is made of the \
            whole context",
    note = "what the runner was given with `.state(…)` is asked for by reference: `mailer: &Mailer`"
)]
pub trait Input: Sized + Send + 'static {
    /// Makes it of the context of the task with this id.
    ///
    /// # Errors
    ///
    /// A fatal one if the context does not fit.
    fn take(context: Context, task: &str) -> Result<Self, TaskError>;
}

impl Input for Context {
    fn take(context: Context, _: &str) -> Result<Self, TaskError> {
        Ok(context)
    }
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + Send + 'static> Input for T {
    fn take(context: Context, task: &str) -> Result<Self, TaskError> {
        serde_path_to_error::deserialize(Whole(&context)).map_err(|error| {
            let problem = json::mismatch(error.inner());
            let path = error.path().to_string();
            // The context itself has no path.
            let place = if path == "." { String::new() } else { format!(" at `{path}`") };
            TaskError::fatal(format!("the context does not fit the input of task `{task}`{place}: {problem}"))
        })
    }
}

/// What a task changes in place.
#[diagnostic::on_unimplemented(
    message = "a task cannot take a `&mut {Self}`",
    label = "not a `Context`",
    note = "a task changes nothing in place but its context: `context: &mut Context`"
)]
pub trait InPlace: Send + 'static {
    /// The context that the task is given.
    fn from_context(context: Context) -> Self;
    /// The context with what the task changed.
    fn into_context(self) -> Context;
}

impl InPlace for Context {
    fn from_context(context: Context) -> Self {
        context
    }

    fn into_context(self) -> Context {
        self
    }
}

/// What a task returns that takes a `P`.
#[diagnostic::on_unimplemented(
    message = "a task that takes a `{P}` cannot return `{Self}`",
    label = "not what such a task returns",
    note = "a task that takes `Context` returns `Result<Context, E>`; one that takes a type of its own, or nothing, returns `Result<T, E>` with a `T` \
            that is `Serialize`; one that changes the context in place takes `&mut Context` and returns `Result<(), E>`",
    note = "`E` is `TaskError`, or becomes one: any error that is `Send + Sync`, `anyhow::Error`, `String`, …"
)]
pub trait Output<P>: 'static {
    /// The context with the changes of the task with this id.
    ///
    /// # Errors
    ///
    /// The task's, and a fatal one if what it returned has no JSON form.
    fn put(self, task: &str) -> Result<Context, TaskError>;
}

// Without `do_not_recommend` the compiler would tell why this implementation does not fit instead of the
// notes above.
#[diagnostic::do_not_recommend]
impl<E: Into<TaskError> + 'static> Output<Context> for Result<Context, E> {
    fn put(self, _: &str) -> Result<Context, TaskError> {
        self.map_err(Into::into)
    }
}

#[diagnostic::do_not_recommend]
impl<P: DeserializeOwned, T: Serialize + 'static, E: Into<TaskError> + 'static> Output<P> for Result<T, E> {
    fn put(self, task: &str) -> Result<Context, TaskError> {
        let mut output = self.map_err(Into::into)?;
        if let Some(context) = (&mut output as &mut dyn Any).downcast_mut::<Context>() {
            return Ok(std::mem::take(context));
        }
        stored(output, task, Context::new())
    }
}

/// What a task returns that takes a `&mut Context`.
#[diagnostic::on_unimplemented(
    message = "a task that takes a `&mut Context` cannot return `{Self}`",
    label = "not a `Result<(), E>`",
    note = "it returns `Result<(), E>`, or `Result<T, E>` with a `T` that is `Serialize`",
    note = "`E` is `TaskError`, or becomes one: any error that is `Send + Sync`, `anyhow::Error`, `String`, …"
)]
pub trait OutputInPlace: 'static {
    /// The context with the output of the task with this id.
    ///
    /// # Errors
    ///
    /// As [`Output::put`].
    fn put_in(self, task: &str, context: Context) -> Result<Context, TaskError>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + 'static, E: Into<TaskError> + 'static> OutputInPlace for Result<T, E> {
    fn put_in(self, task: &str, context: Context) -> Result<Context, TaskError> {
        stored(self.map_err(Into::into)?, task, context)
    }
}

/// The context with an output under the task's id; nothing is put there for `()`.
fn stored<T: Serialize + 'static>(output: T, task: &str, mut context: Context) -> Result<Context, TaskError> {
    if !(&output as &dyn Any).is::<()>() {
        let put = context.try_set(task, output);
        put.map_err(|error| TaskError::fatal(format!("the output of task `{task}`: {error}")))?;
    }
    Ok(context)
}

/// A context as something to deserialise: its keys are the fields. Nothing is copied that is not asked for.
struct Whole<'a>(&'a Context);

impl<'de> Deserializer<'de> for Whole<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_map(MapDeserializer::new(self.0.iter()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Nothing is taken of it.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Charge {
        card: String,
        items: Vec<Item>,
        note: Option<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Item {
        cents: u32,
    }

    fn context(value: Value) -> Context {
        Context::from_value(value).unwrap()
    }

    fn taken<T: Input>(value: Value) -> Result<T, String> {
        T::take(context(value), "charge").map_err(|error| {
            assert!(error.is_fatal());
            error.to_string()
        })
    }

    #[test]
    fn the_input_is_made_of_the_whole_context_without_what_it_does_not_know() {
        let charge: Charge = taken(json!({"card": "c", "items": [{"cents": 5}], "other": 1})).unwrap();
        assert_eq!(charge, Charge { card: "c".to_owned(), items: vec![Item { cents: 5 }], note: None });
        let keys: BTreeMap<String, i64> = taken(json!({"a": 1, "b": 2})).unwrap();
        assert_eq!(keys, BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]));
        #[derive(Deserialize)]
        struct Wrapped(Option<Charge>);
        assert_eq!(taken::<Wrapped>(json!({"card": "d", "items": []})).unwrap().0.unwrap().card, "d");
        taken::<()>(json!({"a": 1})).unwrap();
    }

    #[test]
    fn an_input_that_does_not_fit_is_fatal_and_says_where_without_the_value() {
        let wrong =
            json!({"card": "4111, expected 1", "items": [{"cents": 1}, {"cents": "4111, expected 1"}]});
        assert_eq!(
            taken::<Charge>(wrong).unwrap_err(),
            "the context does not fit the input of task `charge` at `items[1].cents`: invalid type: string, expected u32"
        );
        assert_eq!(
            taken::<Charge>(json!({"card": "4111"})).unwrap_err(),
            "the context does not fit the input of task `charge`: missing field `items`"
        );
        assert_eq!(
            taken::<Charge>(json!({"card": 4111, "items": []})).unwrap_err(),
            "the context does not fit the input of task `charge` at `card`: invalid type: integer, expected a string"
        );
    }

    #[test]
    fn an_output_is_stored_under_the_tasks_id() {
        let put = Output::<Charge>::put(Ok::<_, TaskError>(vec![1]), "sum").unwrap();
        assert_eq!(put, Context::new().with("sum", [1]));
        let put = Ok::<_, TaskError>("b").put_in("sum", Context::new().with("a", 1)).unwrap();
        assert_eq!(put, Context::new().with("a", 1).with("sum", "b"));
    }

    #[test]
    fn what_is_no_output_is_not_stored() {
        let put = Output::<Charge>::put(Ok::<_, TaskError>(()), "sum").unwrap();
        assert_eq!(put, Context::new());
        let put = Output::<Charge>::put(Ok::<_, TaskError>(Context::new().with("a", 1)), "sum").unwrap();
        assert_eq!(put, Context::new().with("a", 1));
    }

    #[test]
    fn an_output_without_a_json_form_is_fatal() {
        let error = Ok::<_, TaskError>(f64::NAN).put_in("sum", Context::new()).unwrap_err();
        assert!(error.is_fatal());
        assert!(error.to_string().starts_with("the output of task `sum`: "), "{error}");
    }
}
