//! What nobody should send.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::service::{ADMIN, Service, asked};

/// An answer that is a problem of this status, which says so.
async fn refused(service: &Service, method: &str, path: &str, body: Option<Value>, says: &str) {
    let (status, problem) = service.call(ADMIN, method, path, body).await;
    assert!(status.is_client_error(), "{method} {path} that should say `{says}`: {status} {problem}");
    assert_eq!(problem["status"], status.as_u16(), "{method} {path}: {problem}");
    let detail = problem["detail"].as_str().unwrap_or_else(|| panic!("{method} {path}: {problem}"));
    assert!(detail.contains(says), "{method} {path} says `{detail}`, not `{says}`");
}

#[tokio::test]
async fn what_cannot_be_understood_is_named() {
    let service = Service::sqlite().await;
    let executions = "/v1/tenants/acme/executions";
    let nothing = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
    for (method, path, body, says) in [
        ("GET", format!("{executions}/77"), None, "`77` is not the id of an execution"),
        ("GET", format!("{executions}/{nothing}"), None, nothing),
        ("GET", format!("{executions}?status=broken"), None, "`broken` is no state"),
        ("GET", format!("{executions}?stauts=failed"), None, "stauts"),
        ("GET", format!("{executions}?limit=100000"), None, "between 1 and 1000"),
        ("GET", format!("{executions}?limit=many"), None, "limit"),
        ("GET", format!("{executions}?since=yesterday"), None, "`yesterday` is no time"),
        ("GET", format!("{executions}?after=made-up"), None, "`made-up` is not the id"),
        ("GET", "/v1/tenants/acme/waits?after=made-up".to_owned(), None, "`made-up` is no place in a list"),
        ("POST", executions.to_owned(), None, ""),
        ("POST", executions.to_owned(), Some(json!({"wokflow": "hello"})), "wokflow"),
        ("POST", executions.to_owned(), Some(json!({"workflow": "hello", "input": [1]})), "object"),
        ("POST", executions.to_owned(), Some(json!({"workflow": "cloacina/bulk"})), "cloacina/"),
        ("POST", executions.to_owned(), Some(json!({"workflow": "hello", "priority": 10})), "10"),
        ("POST", format!("{executions}/{nothing}/cancel"), None, nothing),
        ("POST", format!("{executions}/{nothing}/rerun"), Some(json!({})), nothing),
        ("POST", format!("{executions}/{nothing}/signals"), Some(json!({"name": "go"})), nothing),
        ("GET", format!("{executions}/{nothing}/events"), None, nothing),
        ("GET", "/v1/tenants/acme/schedules/none".to_owned(), None, "has no schedule `none`"),
        ("GET", "/v1/tenants/initech/executions".to_owned(), None, "initech"),
        ("GET", "/v1/tenants/..%2Facme/executions".to_owned(), None, ""),
        ("GET", "/v1/tenants/%00/executions".to_owned(), None, ""),
        ("POST", "/v1/tenants".to_owned(), Some(json!({"name": "../etc"})), ""),
        ("GET", "/v1/nothing".to_owned(), None, "nothing under this path"),
        ("PATCH", executions.to_owned(), None, "method"),
    ] {
        refused(&service, method, &path, body, says).await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let service = Service::sqlite().await;
    let send = async |form: &str, body: Vec<u8>| {
        let request = asked(ADMIN, "POST", "/v1/tenants/acme/executions").header("content-type", form);
        service.send(request.body(Body::from(body)).unwrap()).await.status()
    };
    assert_eq!(send("application/json", vec![b' '; 100 << 20]).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(send("text/plain", b"{}".to_vec()).await, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send("application/json", b"{".to_vec()).await, StatusCode::BAD_REQUEST);
    assert!(send("application/json", vec![b'['; 1 << 20]).await.is_client_error());
    let deep = format!(r#"{{"workflow":"hello","input":{}{}}}"#, r#"{"a":"#.repeat(5_000), "}".repeat(5_000));
    assert_eq!(send("application/json", deep.into_bytes()).await, StatusCode::BAD_REQUEST);
    let large = format!(r#"{{"workflow":"hello","input":{{"text":"{}"}}}}"#, "x".repeat(2 << 20));
    assert_eq!(send("application/json", large.into_bytes()).await, StatusCode::BAD_REQUEST);
    // The engine is as it was.
    service.done("POST", "/v1/tenants/acme/executions", Some(json!({"workflow": "hello"}))).await;
}
