//! The service without a socket, on both databases; and the program once.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod program;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use cloacina::RunnerConfig;
use cloacina::database::{Database, DatabaseAdmin};
use cloacina::tenants::TenantManager;
use cloacina_testing::cluster::Cluster;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenant_service::{Service, Tokens};
use tower::ServiceExt;

struct Test {
    manager: TenantManager,
    router: Router,
    acme: String,
    globex: String,
    _directory: TempDir,
}

impl Test {
    /// Two tenants, of which each has a token.
    async fn of(manager: TenantManager, patience: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tokens");
        for tenant in ["acme", "globex"] {
            manager.provision(tenant).await.unwrap();
        }
        let acme = Tokens::add(&file, "acme").unwrap();
        let globex = Tokens::add(&file, "globex").unwrap();
        let router = Service::new(manager.clone(), Tokens::read(&file).unwrap(), patience).router();
        Self { manager, router, acme, globex, _directory: directory }
    }

    async fn on_sqlite(config: RunnerConfig, patience: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager =
            TenantManager::sqlite(directory.path().join("tenants")).config(config).build().await.unwrap();
        let test = Self::of(manager, patience).await;
        Self { _directory: directory, ..test }
    }

    async fn on_postgres() -> Self {
        let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
        let manager = TenantManager::postgres(url).build().await.unwrap();
        Self::of(manager, PATIENCE).await
    }

    async fn call(&self, request: Request<Body>) -> (StatusCode, HeaderMap, Value) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| panic!("{body:?} is no JSON"));
        (parts.status, parts.headers, body)
    }

    async fn post(&self, token: &str, tenant: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let (status, _, body) = self.call(posting(token, tenant).body(body.into()).unwrap()).await;
        (status, body)
    }

    async fn run(&self, token: &str, tenant: &str) -> (StatusCode, Value) {
        self.post(token, tenant, order()).await
    }

    async fn get(&self, token: &str, tenant: &str, id: &str) -> (StatusCode, Value) {
        let request = Request::get(format!("/tenants/{tenant}/executions/{id}"))
            .header("authorization", format!("bearer {token}"));
        let (status, _, body) = self.call(request.body(Body::empty()).unwrap()).await;
        (status, body)
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn posting(token: &str, tenant: &str) -> axum::http::request::Builder {
    Request::post(format!("/tenants/{tenant}/workflows"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
}

fn order() -> String {
    json!({"workflow_name": "order_total", "context": {"amounts": [120, 80]}}).to_string()
}

#[track_caller]
fn assert_problem(answer: &(StatusCode, Value), status: StatusCode, code: &str) {
    assert_eq!((answer.0, answer.1["error"]["code"].as_str()), (status, Some(code)), "{answer:?}");
    assert!(!answer.1["error"]["message"].as_str().unwrap().is_empty());
}

/// What holds on every database.
async fn it_serves(test: Test) {
    let (status, ran) = test.run(&test.acme, "acme").await;
    assert_eq!((status, &ran["status"]), (StatusCode::OK, &json!("Completed")), "{ran}");
    let id = ran["execution_id"].as_str().unwrap();
    assert_eq!(test.get(&test.acme, "acme", id).await, (StatusCode::OK, ran.clone()));
    let result = test.manager.runner("acme").await.unwrap().get_execution(id.parse().unwrap()).await.unwrap();
    assert_eq!(result.final_context.get::<i64>("total"), Some(200));
    assert_eq!(result.final_context.get::<String>("tenant_id").as_deref(), Some("acme"));

    // Nobody's token, and another's; whether there is such a tenant is not told.
    for token in ["", "x", &test.acme[1..]] {
        assert_problem(&test.run(token, "acme").await, StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let anonymous = Request::get(format!("/tenants/acme/executions/{id}")).body(Body::empty()).unwrap();
    let (status, headers, _) = test.call(anonymous).await;
    assert_eq!((status, headers["www-authenticate"].to_str().unwrap()), (StatusCode::UNAUTHORIZED, "Bearer"));
    let of_another = test.run(&test.globex, "acme").await;
    assert_problem(&of_another, StatusCode::FORBIDDEN, "forbidden");
    for name in ["nobody", "ACME", "..%2Facme", "%00", "a%20b", &"x".repeat(300)] {
        assert_eq!(test.run(&test.globex, name).await, of_another);
        assert_eq!(test.get(&test.globex, name, id).await, of_another);
    }
    assert_problem(&test.get(&test.globex, "globex", id).await, StatusCode::NOT_FOUND, "not_found");

    // What cannot be understood, or is not there.
    for (body, status, code) in [
        ("{", StatusCode::BAD_REQUEST, "body"),
        ("{}", StatusCode::UNPROCESSABLE_ENTITY, "body"),
        (r#"{"workflow_name": "order_total", "context": [1]}"#, StatusCode::BAD_REQUEST, "context"),
        (r#"{"workflow_name": "no such", "context": {}}"#, StatusCode::NOT_FOUND, "no_such_workflow"),
    ] {
        assert_problem(&test.post(&test.acme, "acme", body).await, status, code);
    }
    let large = json!({"workflow_name": "order_total", "context": {"x": "x".repeat(300_000)}}).to_string();
    assert_problem(
        &test.post(&test.acme, "acme", large.clone()).await,
        StatusCode::PAYLOAD_TOO_LARGE,
        "body",
    );
    assert_problem(&test.post("", "acme", large).await, StatusCode::UNAUTHORIZED, "unauthorized");
    assert_problem(&test.get(&test.acme, "acme", "7").await, StatusCode::BAD_REQUEST, "execution_id");
    let unknown = "00000000-0000-0000-0000-000000000007";
    assert_problem(&test.get(&test.acme, "acme", unknown).await, StatusCode::NOT_FOUND, "not_found");
    let (status, _, body) = test.call(Request::get("/").body(Body::empty()).unwrap()).await;
    assert_problem(&(status, body), StatusCode::NOT_FOUND, "no_such_page");
    let (status, _, body) =
        test.call(Request::get("/tenants/acme/workflows").body(Body::empty()).unwrap()).await;
    assert_problem(&(status, body), StatusCode::METHOD_NOT_ALLOWED, "method");

    // Sent twice it runs once; with another input it is refused.
    let keyed = async |body: String| {
        let request = posting(&test.acme, "acme").header("idempotency-key", "order 7");
        let (status, _, body) = test.call(request.body(body.into()).unwrap()).await;
        (status, body)
    };
    let (first, second) = (keyed(order()).await, keyed(order()).await);
    assert_eq!((first.0, &first), (StatusCode::OK, &second));
    assert_problem(&keyed(order().replace("80", "81")).await, StatusCode::CONFLICT, "conflict");

    // A tenant that is removed has no executions any more, whatever tokens there are.
    assert!(test.manager.remove("globex").await.unwrap());
    assert_problem(&test.run(&test.globex, "globex").await, StatusCode::NOT_FOUND, "not_found");

    test.manager.shutdown_all().await.unwrap();
    let (status, headers, body) = test.call(posting(&test.acme, "acme").body(order().into()).unwrap()).await;
    assert_problem(&(status, body), StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_tenants_in_files() {
    Box::pin(it_serves(Test::on_sqlite(RunnerConfig::default(), PATIENCE).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_tenants_in_schemas() {
    Box::pin(it_serves(Test::on_postgres().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_too_much_under_way_is_told_to_wait_and_others_are_not() {
    // Nothing ends, because nothing is run.
    let config = RunnerConfig::builder().submit_only(true).max_queue_length(1).build();
    let test = Test::on_sqlite(config, Duration::from_millis(1)).await;
    let (status, body) = test.run(&test.acme, "acme").await;
    assert_eq!((status, &body["status"]), (StatusCode::ACCEPTED, &json!("Pending")), "{body}");
    assert_problem(&test.run(&test.acme, "acme").await, StatusCode::TOO_MANY_REQUESTS, "limit");
    assert_eq!(test.run(&test.globex, "globex").await.0, StatusCode::ACCEPTED);
    test.manager.shutdown_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_locked() {
    let server = Cluster::shared().unwrap();
    let url = server.fresh_database().await.unwrap();
    server.make_administrator(&url).await.unwrap();
    let admin = DatabaseAdmin::new(Database::new(&url, url.rsplit('/').next().unwrap(), 2));
    let manager = TenantManager::postgres(url).own_roles(admin.clone()).plain_names().build().await.unwrap();
    let test = Test::of(manager, PATIENCE).await;
    assert_eq!(test.run(&test.acme, "acme").await.0, StatusCode::OK);
    admin.suspend("acme").await.unwrap();
    assert_problem(&test.run(&test.acme, "acme").await, StatusCode::LOCKED, "suspended");
    assert_eq!(test.run(&test.globex, "globex").await.0, StatusCode::OK);
    admin.resume("acme").await.unwrap();
    // The process hears of it within a second.
    let resumed = async { while test.run(&test.acme, "acme").await.0 == StatusCode::LOCKED {} };
    tokio::time::timeout(PATIENCE, resumed).await.unwrap();
    assert_eq!(test.run(&test.acme, "acme").await.0, StatusCode::OK);
    for tenant in ["acme", "globex"] {
        assert!(test.manager.remove(tenant).await.unwrap());
    }
    test.manager.shutdown_all().await.unwrap();
}

#[test]
fn a_file_that_holds_no_hashes_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    assert!(Tokens::read(&file).is_ok(), "no file, no tokens");
    let token = Tokens::add(&file, "acme").unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("acme ") && !text.contains(&token), "{text}");
    for bad in ["acme", "acme 12", &format!("acme {}", "é".repeat(32)), &format!("acme {}", "g".repeat(64))]
    {
        std::fs::write(&file, format!("{text}{bad}\n")).unwrap();
        let error = Tokens::read(&file).err().unwrap().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
