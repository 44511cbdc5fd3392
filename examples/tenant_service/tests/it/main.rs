//! The service over HTTP, on both databases; and the program once.
#![allow(clippy::unwrap_used, reason = "clippy takes only the test functions for tests, not their helpers")]

mod client;
mod program;

use std::time::Duration;

use axum::http::StatusCode;
use client::{ask, request};
use cloacina::RunnerConfig;
use cloacina::database::{Database, DatabaseAdmin};
use cloacina::tenants::TenantManager;
use cloacina_testing::cluster::Cluster;
use cloacina_web::{ApiKeys, KeyRequest, Role};
use serde_json::{Value, json};
use tempfile::TempDir;
use tenant_service::Service;

const PATIENCE: Duration = Duration::from_secs(60);

/// A service that listens, and a key of each of two tenants.
struct Test {
    manager: TenantManager,
    server: String,
    acme: String,
    globex: String,
    _directory: Option<TempDir>,
}

impl Test {
    async fn of(manager: TenantManager, patience: Duration, directory: Option<TempDir>) -> Self {
        for tenant in ["acme", "globex"] {
            manager.provision(tenant).await.unwrap();
        }
        let acme = key(&manager, "acme", Role::Developer).await;
        let globex = key(&manager, "globex", Role::Developer).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let router = Service::new(manager.clone(), patience).router();
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { manager, server, acme, globex, _directory: directory }
    }

    async fn on_sqlite(config: RunnerConfig, patience: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tenants");
        let manager = TenantManager::sqlite(path).config(config).build().await.unwrap();
        Self::of(manager, patience, Some(directory)).await
    }

    async fn on_postgres(patience: Duration) -> Self {
        let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
        Self::of(TenantManager::postgres(url).build().await.unwrap(), patience, None).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.server)
    }

    async fn get(&self, key: &str, path: &str) -> (StatusCode, Value) {
        let (status, _, body) = ask(request("GET", &self.at(path), key, "")).await;
        (status, body)
    }

    async fn post(&self, key: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let (status, _, body) = ask(request("POST", &self.at(path), key, body)).await;
        (status, body)
    }

    async fn run(&self, key: &str, tenant: &str) -> (StatusCode, Value) {
        self.post(key, &format!("/tenants/{tenant}/workflows"), &order_total()).await
    }

    async fn execution(&self, key: &str, tenant: &str, id: &str) -> (StatusCode, Value) {
        self.get(key, &format!("/tenants/{tenant}/executions/{id}")).await
    }

    /// Acme's execution, as soon as it has this status.
    async fn once(&self, id: &str, status: &str) -> Value {
        let reached = async {
            loop {
                let (_, execution) = self.execution(&self.acme, "acme", id).await;
                if execution["status"] == status {
                    return execution;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap()
    }
}

async fn key(manager: &TenantManager, tenant: &str, role: Role) -> String {
    let wanted = KeyRequest::of(role.as_str(), tenant, role).with_payloads();
    ApiKeys::new(manager.keys()).issue(wanted, "the test").await.unwrap().0
}

fn order_total() -> String {
    json!({"workflow_name": "order_total", "context": {"amounts": [120, 80]}}).to_string()
}

fn id_of(answer: &Value) -> String {
    answer["execution_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn assert_problem(answer: &(StatusCode, Value), status: StatusCode, code: &str) {
    assert_eq!((answer.0, answer.1["error"]["code"].as_str()), (status, Some(code)), "{answer:?}");
    assert!(!answer.1["error"]["message"].as_str().unwrap().is_empty());
}

/// What holds on every database.
async fn it_serves(test: Test) {
    let (status, ran) = test.run(&test.acme, "acme").await;
    assert_eq!((status, &ran["status"]), (StatusCode::OK, &json!("completed")), "{ran}");
    let id = id_of(&ran);
    let (status, progress) = test.execution(&test.acme, "acme", &id).await;
    assert_eq!(
        (status, &progress["status"], &progress["done"]),
        (StatusCode::OK, &json!("completed"), &json!(1))
    );
    let result = test.manager.runner("acme").await.unwrap().get_execution(id.parse().unwrap()).await.unwrap();
    assert_eq!(result.final_context.get::<i64>("total"), Some(200));
    assert_eq!(result.final_context.get::<String>("tenant_id").as_deref(), Some("acme"));
    assert_eq!(result.submitted_by.as_deref(), Some("developer"));

    // Nobody's key, and another's; whether there is such a tenant is not told.
    for key in ["", "x", &test.acme[1..], &format!("{}0", test.acme)] {
        assert_problem(&test.run(key, "acme").await, StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let path = format!("/tenants/acme/executions/{id}");
    let (status, headers, _) = ask(request("GET", &test.at(&path), "", "")).await;
    assert_eq!((status, headers["www-authenticate"].to_str().unwrap()), (StatusCode::UNAUTHORIZED, "Bearer"));
    let of_another = test.run(&test.globex, "acme").await;
    assert_problem(&of_another, StatusCode::FORBIDDEN, "forbidden");
    for name in ["nobody", "ACME", "..%2Facme", "%00", "a%20b", &"x".repeat(300)] {
        assert_eq!(test.run(&test.globex, name).await, of_another);
        assert_eq!(test.execution(&test.globex, name, &id).await, of_another);
    }
    assert_problem(&test.execution(&test.globex, "globex", &id).await, StatusCode::NOT_FOUND, "not_found");

    // What cannot be understood, or is not there.
    let workflows = "/tenants/acme/workflows";
    for (body, status, code) in [
        ("{", StatusCode::BAD_REQUEST, "body"),
        ("{}", StatusCode::UNPROCESSABLE_ENTITY, "body"),
        (r#"{"workflow_name": "order_total", "context": [1]}"#, StatusCode::BAD_REQUEST, "context"),
        (r#"{"workflow_name": "no such", "context": {}}"#, StatusCode::NOT_FOUND, "no_such_workflow"),
    ] {
        assert_problem(&test.post(&test.acme, workflows, body).await, status, code);
    }
    let large = json!({"workflow_name": "order_total", "context": {"x": "x".repeat(300_000)}}).to_string();
    assert_problem(&test.post(&test.acme, workflows, &large).await, StatusCode::PAYLOAD_TOO_LARGE, "body");
    assert_problem(&test.execution(&test.acme, "acme", "7").await, StatusCode::BAD_REQUEST, "execution_id");
    let unknown = "00000000-0000-0000-0000-000000000007";
    assert_problem(&test.execution(&test.acme, "acme", unknown).await, StatusCode::NOT_FOUND, "not_found");
    assert_problem(&test.get("", "/").await, StatusCode::NOT_FOUND, "no_such_page");
    assert_problem(&test.get(&test.acme, workflows).await, StatusCode::METHOD_NOT_ALLOWED, "method");
    for query in ["status=broken", "stauts=failed", "before=7", "limit=many"] {
        let listed = test.get(&test.acme, &format!("/tenants/acme/executions?{query}")).await;
        assert_problem(&listed, StatusCode::BAD_REQUEST, "query");
    }

    // Sent twice it runs once; with another input it is refused.
    let keyed = async |body: String| {
        let mut request = request("POST", &test.at(workflows), &test.acme, &body);
        request.headers_mut().insert("idempotency-key", "order 7".parse().unwrap());
        let (status, _, body) = ask(request).await;
        (status, body)
    };
    let (first, second) = (keyed(order_total()).await, keyed(order_total()).await);
    assert_eq!((first.0, &first), (StatusCode::OK, &second));
    assert_problem(&keyed(order_total().replace("80", "81")).await, StatusCode::CONFLICT, "conflict");

    // A tenant that is removed has no executions any more, and its keys are good for five seconds at most.
    assert!(test.manager.remove("globex").await.unwrap());
    let (status, _) = test.run(&test.globex, "globex").await;
    assert!([StatusCode::NOT_FOUND, StatusCode::UNAUTHORIZED].contains(&status), "{status}");

    test.manager.shutdown_all().await.unwrap();
    let (status, headers, body) = ask(request("POST", &test.at(workflows), &test.acme, &order_total())).await;
    assert_problem(&(status, body), StatusCode::SERVICE_UNAVAILABLE, "unavailable");
    assert!(headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_tenants_in_files() {
    Box::pin(it_serves(Test::on_sqlite(RunnerConfig::default(), PATIENCE).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_tenants_in_schemas() {
    Box::pin(it_serves(Test::on_postgres(PATIENCE).await)).await;
}

/// The life of an order that waits for its payment, with keys that may see it, steer it, and both.
async fn it_steers(test: Test) {
    let viewer = key(&test.manager, "acme", Role::Viewer).await;
    let operator = key(&test.manager, "acme", Role::Operator).await;
    let order = json!({"workflow_name": "order", "context": {"amounts": [120, 80]}}).to_string();
    assert_problem(
        &test.post(&operator, "/tenants/acme/workflows", &order).await,
        StatusCode::FORBIDDEN,
        "role",
    );
    let (status, submitted) = test.post(&test.acme, "/tenants/acme/workflows", &order).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{submitted}");
    let first = id_of(&submitted);

    let waiting = test.once(&first, "waiting").await;
    assert_eq!(waiting["done"], 1);
    let states: Vec<_> =
        waiting["tasks"].as_array().unwrap().iter().map(|task| (&task["id"], &task["state"])).collect();
    let expected = [("add_up", "completed"), ("paid", "waiting"), ("ship", "pending")]
        .map(|(id, state)| (json!(id), json!(state)));
    assert_eq!(states, expected.iter().map(|(id, state)| (id, state)).collect::<Vec<_>>());

    // Cancelled by whoever may, and run again: what was added up is not added up again.
    let path = |id: &str, action: &str| format!("/tenants/acme/executions/{id}/{action}");
    assert_problem(&test.post(&viewer, &path(&first, "cancel"), "").await, StatusCode::FORBIDDEN, "role");
    assert_problem(&test.post(&operator, &path(&first, "rerun"), "").await, StatusCode::CONFLICT, "state");
    for _twice in 0..2 {
        let (status, cancelled) = test.post(&operator, &path(&first, "cancel"), "").await;
        assert_eq!((status, &cancelled["status"]), (StatusCode::OK, &json!("cancelled")));
    }
    let (status, again) = test.post(&operator, &path(&first, "rerun"), "").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{again}");
    let second = id_of(&again);
    assert_problem(&test.post(&operator, &path(&first, "rerun"), "").await, StatusCode::CONFLICT, "state");
    assert_eq!(test.once(&second, "waiting").await["tasks"][0]["attempts"], 0);

    // It is paid through the interface of the engine, which is mounted beside ours and has the same keys.
    let signals = format!("/engine/v1/tenants/acme/executions/{second}/signals");
    let paid = json!({"name": "paid", "payload": 200}).to_string();
    assert_eq!(test.post(&viewer, &signals, &paid).await.0, StatusCode::FORBIDDEN);
    assert_eq!(test.post(&operator, &signals, &paid).await.0, StatusCode::OK);
    test.once(&second, "completed").await;

    // One that fails says why, but not to a key that may see no payloads.
    let broken = json!({"workflow_name": "order", "context": {}}).to_string();
    let (_, submitted) = test.post(&test.acme, "/tenants/acme/workflows", &broken).await;
    let failed = test.once(&id_of(&submitted), "failed").await;
    assert!(failed["error"].as_str().unwrap().contains("amounts"), "{failed}");
    let blind = KeyRequest::of("blind", "acme", Role::Viewer);
    let (blind, _) = ApiKeys::new(test.manager.keys()).issue(blind, "the test").await.unwrap();
    let (status, seen) = test.execution(&blind, "acme", failed["execution_id"].as_str().unwrap()).await;
    assert_eq!((status, &seen["status"], seen.get("error")), (StatusCode::OK, &json!("failed"), None));

    // Lists go page by page, the newest first.
    let (_, all) = test.get(&viewer, "/tenants/acme/executions?limit=2").await;
    let listed = |page: &Value| page["executions"].as_array().unwrap().iter().map(id_of).collect::<Vec<_>>();
    assert_eq!(listed(&all), [id_of(&failed), second.clone()]);
    let rest = format!("/tenants/acme/executions?limit=2&before={}", all["next"].as_str().unwrap());
    let (_, rest) = test.get(&viewer, &rest).await;
    assert_eq!((listed(&rest), &rest["next"]), (vec![first.clone()], &Value::Null));
    assert_eq!(rest["executions"][0]["superseded_by"], second.as_str());
    let (_, cancelled) = test.get(&viewer, "/tenants/acme/executions?status=cancelled&workflow=order").await;
    assert_eq!(listed(&cancelled), std::slice::from_ref(&first));
    let (_, none) = test.get(&viewer, "/tenants/acme/executions?workflow=order_total").await;
    assert_eq!(listed(&none), Vec::<String>::new());

    // The audit knows who did it.
    let audit = test.manager.runner("acme").await.unwrap().audit(None, 10).await.unwrap();
    let by_operator: Vec<_> =
        audit.iter().rev().filter(|row| row.actor == "operator").map(|row| row.action.as_str()).collect();
    assert_eq!(by_operator[..2], ["cancel", "rerun"], "{by_operator:?}");

    // The pages are for whoever logs in with a key; the cookie of a page opens none of our own routes.
    let (status, headers, _) = ask(client::form(&test.at("/engine/login"), &format!("key={viewer}"))).await;
    assert_eq!((status, headers["location"].to_str().unwrap()), (StatusCode::SEE_OTHER, "home"));
    let cookie = headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let with_cookie = async |path: &str| client::page(&test.at(path), &cookie).await;
    let (status, page) = with_cookie(&format!("/engine/tenants/acme/executions/{second}")).await;
    assert!(status == StatusCode::OK && page.contains("add_up"), "{status}: {page}");
    let (status, page) = with_cookie("/engine/tenants/globex/executions").await;
    assert!(status == StatusCode::FORBIDDEN, "{status}: {page}");
    assert_eq!(with_cookie("/tenants/acme/executions").await.0, StatusCode::UNAUTHORIZED);
    test.manager.shutdown_all().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lists_cancels_and_reruns_in_files() {
    Box::pin(it_steers(Test::on_sqlite(RunnerConfig::default(), Duration::ZERO).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_lists_cancels_and_reruns_in_schemas() {
    Box::pin(it_steers(Test::on_postgres(Duration::ZERO).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_too_much_under_way_is_told_to_wait_and_others_are_not() {
    // Nothing ends, because nothing is run.
    let config = RunnerConfig::builder().submit_only(true).max_queue_length(1).build();
    let test = Test::on_sqlite(config, Duration::from_millis(1)).await;
    let (status, body) = test.run(&test.acme, "acme").await;
    assert_eq!((status, &body["status"]), (StatusCode::ACCEPTED, &json!("pending")), "{body}");
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
    let test = Test::of(manager, PATIENCE, None).await;
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
