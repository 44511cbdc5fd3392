//! Streams of events.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::service::{ADMIN, Service, asked, until};

#[tokio::test]
async fn a_watcher_is_told_of_a_change_and_of_what_is_newer() {
    let service = Service::sqlite().await;
    let submit = json!({"workflow": "asks"});
    let recorded = service.done("POST", "/v1/tenants/acme/executions", Some(submit.clone())).await;
    let id = recorded["id"].as_str().unwrap().to_owned();
    let request =
        asked(ADMIN, "GET", &format!("/v1/tenants/acme/events?ids={id}")).body(Body::empty()).unwrap();
    let response = service.send(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.into_body().into_data_stream();
    let mut told = String::new();
    let mut heard = async |what: &str| {
        while !told.contains(what) {
            let chunk = stream.next().await.expect("the stream goes on").unwrap();
            told.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    };
    // Whatever changes after this is told.
    heard("event: watching").await;
    service.done("POST", &format!("/v1/tenants/acme/executions/{id}/cancel"), None).await;
    heard(&format!("event: changed\ndata: {id}")).await;
    service.done("POST", "/v1/tenants/acme/executions", Some(submit)).await;
    // Without data a browser would not tell of it.
    heard("event: newer\ndata: newer").await;
}

#[tokio::test]
async fn an_inbox_is_told_of_what_an_execution_newly_asks() {
    let service = Service::sqlite().await;
    let submitted =
        service.done("POST", "/v1/tenants/acme/executions", Some(json!({"workflow": "asks_later"}))).await;
    let id = submitted["id"].as_str().unwrap().to_owned();
    // It waits for a signal, and asks nothing yet.
    let execution = format!("/v1/tenants/acme/executions/{id}");
    until(async || service.get(&execution).await["waits"][0]["signal"] == "begin").await;
    let watch = async |query: &str| {
        let path = format!("/v1/tenants/acme/events{query}");
        let request = asked(ADMIN, "GET", &path).body(Body::empty()).unwrap();
        service.send(request).await.into_body().into_data_stream()
    };
    let (mut inbox, mut other) = (watch("?asks=true").await, watch("").await);
    let heard = async |stream: &mut axum::body::BodyDataStream, what: &str, not: &str| {
        let mut told = String::new();
        while !told.contains(what) {
            let chunk = stream.next().await.expect("the stream goes on").unwrap();
            told.push_str(std::str::from_utf8(&chunk).unwrap());
            assert!(not.is_empty() || !told.contains(not), "{told}");
        }
    };
    heard(&mut inbox, "event: watching", "").await;
    heard(&mut other, "event: watching", "").await;
    let signal = json!({"name": "begin", "payload": null});
    service.done("POST", &format!("{execution}/signals"), Some(signal)).await;
    heard(&mut inbox, "event: asked\ndata: asked", "").await;
    // Whoever does not want to know it is told of other things only.
    service.done("POST", "/v1/tenants/acme/executions", Some(json!({"workflow": "asks"}))).await;
    heard(&mut other, "event: newer", "event: asked").await;
}

#[tokio::test]
async fn there_are_so_many_streams_and_no_more() {
    let service = Service::sqlite().await;
    let open = async || {
        let request = asked(ADMIN, "GET", "/v1/tenants/acme/events").body(Body::empty()).unwrap();
        service.send(request).await
    };
    let mut streams = Vec::new();
    for _ in 0..1_000 {
        let stream = open().await;
        assert_eq!(stream.status(), StatusCode::OK);
        streams.push(stream);
    }
    // However many try.
    for _ in 0..9_000 {
        assert_eq!(open().await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
    drop(streams);
    assert_eq!(open().await.status(), StatusCode::OK);
    // Whoever does not watch is not kept out.
    service.get("/v1/tenants/acme/executions").await;
}
