//! Streams of events.

use axum::body::Body;
use axum::http::StatusCode;
use futures_util::StreamExt as _;
use serde_json::json;

use crate::service::{ADMIN, Service, asked};

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
    assert_eq!(open().await.status(), StatusCode::TOO_MANY_REQUESTS);
    drop(streams);
    assert_eq!(open().await.status(), StatusCode::OK);
    // Whoever does not watch is not kept out.
    service.get("/v1/tenants/acme/executions").await;
}
