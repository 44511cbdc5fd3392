//! The context: who sees what, how changes are merged, and what cannot be stored.

use std::collections::HashMap;
use std::time::Duration;

use cloacina::{Context, ContextError, ErrorKind, ExecutionStatus, TaskState};
use serde_json::{Value, json};

use crate::support::{Database, Gate, assert_error, quick, setting, task, task_of, workflow};

type Change = fn(Context) -> Context;

/// What has no JSON form.
fn unwritable() -> HashMap<(u8, u8), u8> {
    HashMap::from([((1, 2), 3)])
}

/// An array in an array, and so on.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!(1), |value, _| Value::Array(vec![value]))
}

on_each_store! {
    async fn an_input_or_a_change_may_be_nested_100_levels_deep(database: Database) {
        let result = database.run(Context::new().with("input", nested(100)), [setting("t", "change", nested(100))]).await;
        assert!(result.status.is_success(), "{result:?}");
        assert_eq!(result.final_context.value("input"), Some(&nested(100)));
        assert_eq!(result.final_context.value("change"), Some(&nested(100)));
    }

    async fn a_later_task_overrides_an_earlier_one_and_a_later_declaration_its_equal(database: Database) {
        // `b` is declared before `a`, and takes longer: neither the name nor the time decides.
        let slow = task("b", |context| async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Ok(context.with("equals", "b").with("order", "b"))
        });
        let result = database.run(Context::new().with("order", "input"), [
            setting("root", "order", "root"),
            slow.dependencies(["root"]),
            setting("a", "equals", "a").dependencies(["root"]),
            task("join", |context| async {
                let seen: Value = json!([context.value("order"), context.value("equals")]);
                Ok(context.with("seen", seen))
            }).dependencies(["a", "b"]),
        ]).await;
        assert_eq!(result.final_context.value("seen"), Some(&json!(["b", "a"])));
        assert_eq!(result.final_context.value("order"), Some(&json!("b")));
        assert_eq!(result.final_context.value("equals"), Some(&json!("a")));
    }

    async fn a_task_does_not_see_what_a_sibling_changed(database: Database) {
        let result = database.run(Context::new(), [
            setting("first", "x", 1),
            task("second", |context| async {
                let sees = context.value("x").is_some();
                Ok(context.with("sees", sees))
            }),
        ]).await;
        assert_eq!(result.final_context.get::<bool>("sees"), Some(false));
        assert_eq!(result.final_context.get::<i32>("x"), Some(1));
    }

    async fn a_removed_key_is_gone_for_all_that_follow(database: Database) {
        let result = database.run(Context::new().with("secret", 1).with("kept", 2), [
            task("remove", |mut context| async {
                context.remove("secret");
                Ok(context)
            }),
            task("look", |context| async {
                let seen = context.value("secret").is_some();
                Ok(context.with("seen", seen))
            }).dependencies(["remove"]),
            setting("again", "again", true).dependencies(["look"]),
        ]).await;
        assert_eq!(result.final_context.to_value(), json!({"kept": 2, "seen": false, "again": true}));
    }

    async fn a_removed_key_can_be_set_again(database: Database) {
        let result = database.run(Context::new().with("k", "old"), [
            task("remove", |mut context| async {
                context.remove("k");
                Ok(context)
            }),
            setting("set", "k", "new").dependencies(["remove"]),
        ]).await;
        assert_eq!(result.final_context.to_value(), json!({"k": "new"}));
    }

    async fn the_input_is_visible_to_every_task(database: Database) {
        let look = |id| task(id, |context| async {
            context.try_get::<String>("city").map_err(Into::into).map(|_| context)
        });
        let result = database.run(Context::new().with("city", "Rome"), [
            look("a"),
            look("b").dependencies(["a"]),
            look("c").dependencies(["b"]),
            look("lonely"),
        ]).await;
        assert!(result.status.is_success(), "{result:?}");
    }

    async fn a_context_that_a_task_made_anew_keeps_the_other_keys(database: Database) {
        let result = database.run(Context::new().with("input", 1), [
            setting("a", "a", 2),
            task("anew", |_| async { Ok(Context::new().with("anew", 3)) }).dependencies(["a"]),
        ]).await;
        assert_eq!(result.final_context.to_value(), json!({"input": 1, "a": 2, "anew": 3}));
    }

    async fn what_a_failed_attempt_changed_is_not_kept(database: Database) {
        let result = database.run(Context::new(), [task("t", |mut context| async move {
            let attempt = context.task().attempt();
            context.set(format!("attempt{attempt}"), true);
            if attempt == 1 { Err("once".into()) } else { Ok(context) }
        }).retry(crate::support::attempts(2))]).await;
        assert_eq!(result.final_context.to_value(), json!({"attempt2": true}));
    }

    async fn every_json_value_comes_back_as_it_went_in(database: Database) {
        let values = json!({
            "null": null, "bool": true, "i64": i64::MIN, "u64": u64::MAX, "f64": 1.5e300, "small": 5e-324,
            "text": "Grüße, 世界 🦀 \" \\ / \n \u{1} \u{7f} \u{feff}", "": "the empty key", "'; DROP TABLE task; --": "quotes",
            "nested": {"a": [1, [2, {"b": []}]], "set": {}, "removed": []}, "set": 1, "removed": ["nested"]
        });
        let copied = values.clone();
        let result = database.run(Context::from_value(values.clone()).unwrap(), [task("copy", move |context| {
            let copied = copied.clone();
            async move {
                let same = context.to_value() == copied;
                Ok(context.with("same", same).with("copy", copied))
            }
        })]).await;
        assert_eq!(result.final_context.get::<bool>("same"), Some(true));
        assert_eq!(result.final_context.value("copy"), Some(&values));
    }

    async fn an_input_that_cannot_be_stored_is_refused_before_anything_is_recorded(database: Database) {
        let runner = database.configured(quick().max_context_bytes(1000), [workflow("w", [setting("t", "k", 1)])]).await;
        let refused = [
            (Context::new().with("map", unwritable()), "`map` cannot be written as JSON"),
            (Context::new().with("text", "a\0b"), "`text` contains the character \\u0000"),
            (Context::new().with("ke\0y", 1), "`ke\\u0000y` contains the character \\u0000"),
            (Context::new().with("deep", json!([{"a": ["\0"]}])), "`deep` contains the character \\u0000"),
            (Context::new().with("deep", json!([{"a\0": 1}])), "`deep` contains the character \\u0000"),
            (Context::new().with("large", "x".repeat(1000)), "more than the 1000 allowed"),
            (Context::new().with("mean", f64::NAN), "`mean` cannot be written as JSON: NaN is no number in JSON"),
            (Context::new().with("all", [Some(f32::INFINITY)]), "`all` cannot be written as JSON: inf is no number"),
            (Context::new().with("deep", nested(101)), "`deep` cannot be written as JSON: arrays or objects nested more than 100"),
        ];
        for (input, words) in refused {
            assert_error(&runner.execute("w", input.clone()).await.unwrap_err(), ErrorKind::Context, words);
            assert_error(&runner.execute_async("w", input).await.unwrap_err(), ErrorKind::Context, words);
        }
        assert!(runner.list_executions().await.unwrap().is_empty());
        // Just as large as it may be: `{"large":"…"}`.
        let fits = Context::new().with("large", "x".repeat(1000 - 12));
        assert!(runner.execute("w", fits).await.unwrap().status.is_success());
        runner.shutdown().await.unwrap();
    }

    async fn a_change_that_makes_the_execution_too_large_fails_its_task_for_good(database: Database) {
        let large = |id: &str, key: &'static str, size: usize| {
            task(id, move |context| async move { Ok(context.with(key, "x".repeat(size))) })
        };
        let gate = Gate::new();
        let tasks = [
            large("a", "a", 400),
            gate.task("b").dependencies(["a"]),
            // What is overwritten is kept as well.
            large("c", "a", 400).dependencies(["b"]),
            large("d", "d", 300).dependencies(["c"]).retry(crate::support::attempts(3)),
        ];
        let config = || quick().max_execution_bytes(1000).shutdown_timeout(Duration::ZERO);
        let first = database.configured(config(), [workflow("w", tasks.clone())]).await;
        let execution = first.execute_async("w", Context::new().with("kept", 1)).await.unwrap().execution_id;
        gate.started().await;
        first.shutdown().await.unwrap();
        // It counts what it reads.
        let runner = database.configured(config(), [workflow("w", tasks)]).await;
        gate.started().await;
        gate.open(1);
        let result = runner.execution(execution).wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Failed);
        let failed = task_of(&result, "d");
        assert_eq!(failed.attempts, 1);
        let error = failed.error_message.as_deref().unwrap();
        assert!(error.contains("max_execution_bytes") && error.contains("the 1000 allowed"), "{error}");
        assert_eq!(task_of(&result, "c").state, TaskState::Completed);
        runner.shutdown().await.unwrap();
        let refused = database.builder().config(quick().max_execution_bytes(1 << 30).build()).build().await.unwrap_err();
        assert_error(&refused, ErrorKind::Configuration, "max_execution_bytes");
    }

    async fn a_change_that_cannot_be_stored_fails_the_attempt(database: Database) {
        let changes: [(Change, &str); 7] = [
            (|context| context.with("mean", f64::NAN), "`mean` cannot be written as JSON: NaN is no number in JSON"),
            (|context| context.with("deep", nested(2_000)), "`deep` cannot be written as JSON: arrays or objects nested more than 100"),
            (|context| context.with("map", unwritable()), "`map` cannot be written as JSON"),
            (|context| context.with("text", "a\0b"), "`text` contains the character \\u0000"),
            (|context| context.with("ke\0y", 1), "`ke\\u0000y` contains the character \\u0000"),
            (|context| context.with("deep", json!({"a": [{"\0": 1}]})), "`deep` contains the character \\u0000"),
            (|context| context.with("large", "x".repeat(1000)), "more than the 1000 allowed"),
        ];
        for (change, words) in changes {
            let task = task("t", move |context| async move {
                Ok(if context.task().attempt() == 1 { change(context) } else { context.with("second", true) })
            });
            let runner = database.configured(
                quick().max_patch_bytes(1000),
                [workflow("once", [task.clone()]), workflow("twice", [task.retry(crate::support::attempts(2))])],
            ).await;
            let result = runner.execute("once", Context::new().with("kept", 1)).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Failed);
            assert!(result.error_message.as_deref().unwrap().contains(words), "{result:?}");
            assert!(task_of(&result, "t").error_message.as_deref().unwrap().contains(words));
            assert_eq!(result.final_context.to_value(), json!({"kept": 1}));
            let result = runner.execute("twice", Context::new()).await.unwrap();
            assert_eq!(result.final_context.to_value(), json!({"second": true}), "{words}");
            runner.shutdown().await.unwrap();
        }
    }
}

#[test]
fn a_context_is_an_object() {
    for (value, found) in [
        (json!([1]), "an array"),
        (json!("a"), "a string"),
        (json!(1), "a number"),
        (json!(true), "a boolean"),
        (Value::Null, "null"),
    ] {
        let error = Context::from_value(value).unwrap_err();
        assert_eq!(error, ContextError::NotAnObject { found });
    }
    assert_eq!(Context::from_value(json!({"a": 1})).unwrap().get::<i32>("a"), Some(1));
}

#[test]
fn what_no_database_can_keep_does_not_even_parse() {
    // Half of a surrogate pair is no character of a Rust string, and a double ends at 1.8e308.
    assert!(serde_json::from_str::<Value>(r#"{"text": "\ud800"}"#).is_err());
    assert!(serde_json::from_str::<Value>(r#"{"number": 1e200000}"#).is_err());
    assert_eq!(json!(f64::INFINITY), Value::Null);
}

#[test]
fn a_value_of_another_type_is_none_and_try_get_says_why() {
    let context = Context::new().with("n", 1);
    assert_eq!(context.get::<String>("n"), None);
    assert!(matches!(context.try_get::<String>("n"), Err(ContextError::WrongType { key, .. }) if key == "n"));
    assert_eq!(context.try_get::<u8>("m"), Err(ContextError::Missing { key: "m".into() }));
}
