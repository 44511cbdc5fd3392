//! What a collector is told by two processes of one order.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

type Spans = Arc<Mutex<Vec<Span>>>;

/// A span as it arrived, and the service that sent it.
#[derive(Debug, Clone)]
struct Span {
    service: String,
    it: Value,
}

impl Span {
    fn text(&self, key: &str) -> &str {
        self.it[key].as_str().unwrap_or_default()
    }

    fn attribute(&self, key: &str) -> Value {
        let all = self.it["attributes"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["key"] == key).map_or(Value::Null, |one| one["value"].clone())
    }
}

async fn receive(State(spans): State<Spans>, Json(sent): Json<Value>) -> Json<Value> {
    for of in sent["resourceSpans"].as_array().unwrap() {
        let attributes = of["resource"]["attributes"].as_array().unwrap();
        let service = attributes.iter().find(|one| one["key"] == "service.name").unwrap();
        let service = service["value"]["stringValue"].as_str().unwrap().to_owned();
        for scope in of["scopeSpans"].as_array().unwrap() {
            let all = scope["spans"].as_array().unwrap().iter().cloned();
            spans.lock().unwrap().extend(all.map(|it| Span { service: service.clone(), it }));
        }
    }
    Json(json!({}))
}

/// Runs the program with a collector at this address.
async fn run(verb: &str, file: &std::path::Path, collector: &str) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_traces"));
    program.arg(verb).arg(file).env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_submitted_and_who_ran_are_one_trace_and_what_comes_after_a_wait_is_linked_to_it() {
    let spans = Spans::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let collector = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(receive)).with_state(Arc::clone(&spans));
    tokio::spawn(axum::serve(listener, router).into_future());
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("orders.db");

    let id = run("submit", &file, &collector).await;
    let done = run("work", &file, &collector).await;
    assert_eq!(done, format!("{} completed\n", id.trim()));

    let spans = spans.lock().unwrap().clone();
    let named = |name: &str| spans.iter().filter(|span| span.text("name") == name).collect::<Vec<_>>();
    let [request] = named("POST /orders")[..] else { panic!("{spans:#?}") };
    let [submit] = named("submit order")[..] else { panic!("{spans:#?}") };
    assert_eq!(submit.text("parentSpanId"), request.text("spanId"));
    assert_eq!(submit.it["kind"], 4, "a producer");
    assert_eq!((&*request.service, &*submit.service), ("shop-submit", "shop-submit"));
    assert_eq!(submit.attribute("messaging.system")["stringValue"], "cloacina");

    let [first, second] = named("run charge")[..] else { panic!("{spans:#?}") };
    for attempt in [first, second] {
        assert_eq!(attempt.service, "shop-work");
        assert_eq!(attempt.text("traceId"), submit.text("traceId"), "it is the same trace");
        assert_eq!(attempt.text("parentSpanId"), submit.text("spanId"));
        assert_eq!(attempt.it["kind"], 5, "a consumer");
        assert_eq!(attempt.attribute("execution")["stringValue"], id.trim());
    }
    let outcome = |span: &Span| span.attribute("cloacina.outcome")["stringValue"].as_str().map(str::to_owned);
    assert_eq!(outcome(first).as_deref(), Some("failed"));
    assert_eq!(first.it["status"]["message"], "the bank does not answer");
    assert_eq!(outcome(second).as_deref(), Some("completed"));
    let below: Vec<&str> = named("POST /charges").iter().map(|span| span.text("parentSpanId")).collect();
    assert_eq!(below, [first.text("spanId"), second.text("spanId")]);

    let [ship] = named("run ship")[..] else { panic!("{spans:#?}") };
    assert_ne!(ship.text("traceId"), submit.text("traceId"), "a wait ends a trace");
    assert_eq!(ship.text("parentSpanId"), "");
    let links = ship.it["links"].as_array().unwrap();
    assert_eq!(links.len(), 1);
    assert_eq!(links[0]["traceId"], submit.it["traceId"]);
    assert_eq!(links[0]["spanId"], submit.it["spanId"]);
}
