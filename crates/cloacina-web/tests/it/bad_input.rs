//! What nobody should send.

use axum::body::{Body, to_bytes};
use axum::http::{Method, StatusCode};
use cloacina::tenants::Placement;
use cloacina_testing::cluster::Cluster;
use cloacina_web::routes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::service::{ADMIN, Service, asked, until};

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
        ("GET", "/v1/tenants/%ff/executions".to_owned(), None, ""),
        ("GET", "/v1/tenants/acme/../globex/executions".to_owned(), None, "nothing under this path"),
        ("GET", "/v1//tenants/acme/executions".to_owned(), None, "nothing under this path"),
        ("GET", "/v1/tenants/acme%2Fexecutions".to_owned(), None, ""),
        ("GET", format!("/v1/tenants/{}/executions", "a".repeat(10_000)), None, ""),
        ("GET", format!("{executions}/{nothing}%2F..%2F..%2Fglobex"), None, "is not the id"),
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

/// What a browser would run.
const HTML: &str = "<img src=x onerror=alert(1)>\"'><script>alert(1)</script>";

#[tokio::test]
async fn what_is_html_in_names_contexts_and_errors_is_text_on_every_page() {
    let service = Service::sqlite().await;
    let executions = "/v1/tenants/acme/executions";
    let submit = async |workflow: &str, input: Value| {
        let body = json!({"workflow": workflow, "input": input, "tags": [&HTML[..28]]});
        let recorded = service.done("POST", executions, Some(body)).await;
        recorded["id"].as_str().unwrap().to_owned()
    };
    let says = json!({"says": HTML, HTML: HTML, "list": [HTML]});
    let failed = submit("says_so", says.clone()).await;
    until(async || service.get(&format!("{executions}/{failed}")).await["status"] == "failed").await;
    // Nobody has the code of the one that is called so.
    let (named, asks) = (submit(HTML, says).await, submit("asks", json!({HTML: HTML})).await);
    until(async || service.get(&format!("{executions}/{asks}")).await["status"] == "waiting").await;
    let schedule = json!({"workflow": HTML, "every": ["1h"], "input": {HTML: HTML}});
    let path = "/v1/tenants/acme/schedules/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E";
    let (status, told) = service.call(ADMIN, "PUT", path, Some(schedule)).await;
    assert!(status.is_success(), "{told}");
    let request = asked(ADMIN, "POST", &format!("{executions}/{named}/cancel")).header("x-reason", HTML);
    assert!(service.send(request.body(Body::empty()).unwrap()).await.status().is_success());

    let is_page = |path: &str| !path.starts_with("/v1/");
    let (mut looked, mut shown) = (0, 0);
    for route in routes().iter().filter(|route| route.method == Method::GET && is_page(route.path)) {
        for execution in [&failed, &named, &asks] {
            let parts = route.path.split('/').map(|part| match part {
                "{tenant}" => "acme",
                "{execution}" => execution,
                "{schedule}" | "{name}" => "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
                other => other,
            });
            let path = parts.collect::<Vec<_>>().join("/");
            for path in [
                path.clone(),
                format!("{path}?workflow=%3Cscript%3Ealert(1)&tag=%22%3E%3Cscript%3E&q=%3Cimg%20src"),
            ] {
                let response = service.send(asked(ADMIN, "GET", &path).body(Body::empty()).unwrap()).await;
                let text = to_bytes(response.into_body(), 1 << 22).await.unwrap();
                let text = String::from_utf8_lossy(&text);
                assert!(!text.contains("<img src") && !text.contains("<script>"), "{path}: {text}");
                looked += 1;
                shown += usize::from(text.contains("&lt;img src=x onerror"));
            }
        }
    }
    assert!(looked > 60 && shown > 20, "{looked} pages, {shown} of them with it");
}

/// What comes back for these bytes, as far as it comes.
async fn raw(stream: &mut TcpStream, bytes: &[u8]) -> String {
    // It may hang up before all is sent.
    _ = stream.write_all(bytes).await;
    let mut answer = [0; 1_000];
    let read = stream.read(&mut answer).await.unwrap_or_default();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_headers_and_bodies_that_do_not_come_harm_nobody_else() {
    let service = Service::sqlite().await;
    let address = service.listen().await;
    let connect = async || TcpStream::connect(address).await.unwrap();
    let list = "GET /v1/tenants/acme/executions HTTP/1.1\r\nHost: engine\r\n";
    let many: String = (0..10_000).map(|number| format!("X-Flood-{number}: a\r\n")).collect();
    let large = format!("X-Flood: {}\r\n", "a".repeat(4 << 20));
    for headers in [many, large] {
        let answer = raw(&mut connect().await, format!("{list}{headers}\r\n").as_bytes()).await;
        // It hangs up, or says what is wrong.
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    for nonsense in [&b"\x16\x03\x01\x02\x00"[..], b"GET / HTTP/9.9\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answer = raw(&mut connect().await, nonsense).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // They have said what they are to send, and send it never.
    let who = format!("X-Who: {ADMIN}\r\n");
    let slow = format!(
        "POST /v1/tenants/acme/executions HTTP/1.1\r\nHost: engine\r\n{who}Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut stream = connect().await;
        stream.write_all(slow.as_bytes()).await.unwrap();
        held.push(stream);
    }
    let answer = raw(&mut connect().await, format!("{list}{who}\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    service.done("POST", "/v1/tenants/acme/executions", Some(json!({"workflow": "hello"}))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_goes_away_is_told_without_its_secrets_and_comes_back() {
    let cluster = Cluster::start().unwrap();
    let service = Service::of_server(&cluster, Placement::Schema).await;
    let executions = "/v1/tenants/acme/executions";
    let recorded = service.done("POST", executions, Some(json!({"workflow": "asks"}))).await;
    let execution = format!("{executions}/{}", recorded["id"].as_str().unwrap());
    until(async || service.get(&execution).await["status"] == "waiting").await;
    cluster.stop().unwrap();
    for path in [executions, &execution, "/v1/executions", "/v1/overview", "/tenants/acme", "/overview"] {
        let response = service.send(asked(ADMIN, "GET", path).body(Body::empty()).unwrap()).await;
        let status = response.status();
        let text = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8_lossy(&text);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {text}");
        for secret in ["postgres", "127.0.0.1", "password", "socket"] {
            assert!(!text.to_lowercase().contains(secret), "{path} tells `{secret}`: {text}");
        }
    }
    cluster.restart().unwrap();
    until(async || service.call(ADMIN, "GET", &execution, None).await.0 == StatusCode::OK).await;
    assert_eq!(service.get(&execution).await["status"], "waiting");
    service.done("POST", &format!("{execution}/cancel"), None).await;
}
