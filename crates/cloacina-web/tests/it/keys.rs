//! Keys and sessions.

use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use cloacina::tenants::TenantManager;
use cloacina_core::clock::{Clock as _, SystemClock};
use cloacina_web::{ApiKeys, KeyRequest, Role};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

/// A service with two tenants that knows its callers by keys.
struct Guarded {
    router: Router,
    keys: ApiKeys,
    tenants: TenantManager,
    _directory: TempDir,
}

impl Guarded {
    async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let tenants = TenantManager::sqlite(directory.path().join("tenants")).build().await.unwrap();
        for tenant in ["acme", "globex"] {
            tenants.provision(tenant).await.unwrap();
        }
        let keys = ApiKeys::new(tenants.keys());
        let router = cloacina_web::router(tenants.clone(), keys.clone());
        Self { router, keys, tenants, _directory: directory }
    }

    async fn key(&self, request: KeyRequest) -> String {
        self.keys.issue(request, "test").await.unwrap().0
    }

    async fn call(&self, secret: &str, method: &str, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {secret}"));
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
        };
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn status(&self, secret: &str, path: &str) -> StatusCode {
        self.call(secret, "GET", path, None).await.0
    }
}

const ACME: &str = "/v1/tenants/acme/executions";
const GLOBEX: &str = "/v1/tenants/globex/executions";

#[tokio::test]
async fn a_key_opens_what_it_is_for_and_nothing_else() {
    let service = Guarded::new().await;
    let mine = service.key(KeyRequest::of("ci", "acme", Role::Developer)).await;
    assert_eq!(service.status(&mine, ACME).await, StatusCode::OK);
    assert_eq!(service.status(&mine, GLOBEX).await, StatusCode::FORBIDDEN);
    assert_eq!(service.status(&mine, "/v1/tenants").await, StatusCode::FORBIDDEN);
    let forged = format!("{}{}", &mine[..mine.len() - 1], if mine.ends_with('0') { '1' } else { '0' });
    for wrong in ["", "clc_", "nonsense", &forged, "clc_AAAAAAAAAAAA_00"] {
        let (status, problem) = service.call(wrong, "GET", ACME, None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(!problem.to_string().contains(&mine));
    }
}

#[tokio::test]
async fn a_key_that_is_ended_or_over_opens_nothing() {
    let service = Guarded::new().await;
    let admin = service.key(KeyRequest::of_all("root", Role::Admin)).await;
    let (status, made) = service
        .call(&admin, "POST", "/v1/tenants/acme/keys", Some(json!({"name": "ci", "role": "viewer"})))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    let (secret, id) = (made["secret"].as_str().unwrap(), made["id"].as_str().unwrap());
    assert_eq!(service.status(secret, ACME).await, StatusCode::OK);
    // Another tenant's administrator cannot end it, nor learn that it is there.
    let theirs = service.key(KeyRequest::of("boss", "globex", Role::TenantAdmin)).await;
    let (status, _) = service.call(&theirs, "DELETE", &format!("/v1/tenants/globex/keys/{id}"), None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = service.call(&admin, "DELETE", &format!("/v1/tenants/acme/keys/{id}"), None).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(service.status(secret, ACME).await, StatusCode::UNAUTHORIZED);

    let soon = SystemClock.now() + Duration::from_millis(300);
    let short = service.key(KeyRequest::of("short", "acme", Role::Viewer).expires_at(soon)).await;
    assert_eq!(service.status(&short, ACME).await, StatusCode::OK);
    crate::service::until(async || service.status(&short, ACME).await == StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn nobody_gives_a_right_that_they_do_not_have() {
    let service = Guarded::new().await;
    let boss = service.key(KeyRequest::of("boss", "acme", Role::TenantAdmin)).await;
    let path = "/v1/tenants/acme/keys";
    for wrong in
        [json!({"name": "x", "role": "admin"}), json!({"name": "x", "role": "viewer", "payloads": true})]
    {
        assert_eq!(service.call(&boss, "POST", path, Some(wrong)).await.0, StatusCode::FORBIDDEN);
    }
    let (status, problem) =
        service.call(&boss, "POST", path, Some(json!({"name": "x", "role": "king"}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(problem["detail"].as_str().unwrap().contains("tenant_admin"));
    assert_eq!(
        service.call(&boss, "POST", "/v1/keys", Some(json!({"name": "x", "role": "viewer"}))).await.0,
        StatusCode::FORBIDDEN
    );
    let (_, keys) = service.call(&boss, "GET", path, None).await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 1);
    assert!(keys["items"][0].get("secret").is_none() && keys["items"][0].get("hash").is_none());
}

#[tokio::test]
async fn a_tenant_that_is_made_anew_has_no_key_of_the_one_before() {
    let service = Guarded::new().await;
    let admin = service.key(KeyRequest::of_all("root", Role::Admin)).await;
    let old = service.key(KeyRequest::of("ci", "acme", Role::Developer)).await;
    service.tenants.remove("acme").await.unwrap();
    service.tenants.provision("acme").await.unwrap();
    assert_eq!(service.status(&old, ACME).await, StatusCode::UNAUTHORIZED);
    let (_, keys) = service.call(&admin, "GET", "/v1/keys", None).await;
    assert_eq!(keys["items"].as_array().unwrap().len(), 1);
}

impl Guarded {
    /// Sends the form of a page, and says where that leads and which cookie is set.
    async fn form(&self, path: &str, body: String, cookie: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method("POST").uri(path).header("cookie", cookie);
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(Body::from(body));
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        let header = |name: &str| {
            response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        (response.status(), header("location"), header("set-cookie"))
    }

    async fn with_cookie(&self, cookie: &str) -> StatusCode {
        let request = Request::builder().uri(ACME).header("cookie", cookie).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap().status()
    }
}

#[tokio::test]
async fn a_person_logs_in_with_a_key_and_out_again() {
    let service = Guarded::new().await;
    let secret = service.key(KeyRequest::of("ines", "acme", Role::Viewer)).await;
    let (status, location, cookie) = service.form("/login", format!("key={secret}"), "").await;
    assert_eq!((status, location.as_str()), (StatusCode::SEE_OTHER, "home"));
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&secret), "the key itself does not go into a cookie");
    let session = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(service.with_cookie(&session).await, StatusCode::OK);
    // A session begins no other session.
    let (_, location, _) =
        service.form("/login", format!("key={}", session.split_once('=').unwrap().1), "").await;
    assert_eq!(location, "login?wrong=1");

    let (status, _, cleared) = service.form("/logout", String::new(), &session).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(cleared.contains("Max-Age=0"));
    // What was copied before is good for nothing.
    assert_eq!(service.with_cookie(&session).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.status(&secret, ACME).await, StatusCode::OK);
}

#[tokio::test]
async fn a_session_ends_with_its_key_and_is_never_the_one_that_the_browser_brought() {
    let service = Guarded::new().await;
    let (secret, key) =
        service.keys.issue(KeyRequest::of("ines", "acme", Role::Viewer), "test").await.unwrap();
    let planted =
        "cloacina=clc_AAAAAAAAAAAA_0000000000000000000000000000000000000000000000000000000000000000";
    let (_, _, cookie) = service.form("/login", format!("key={secret}"), planted).await;
    let session = cookie.split(';').next().unwrap();
    assert_ne!(session, planted);
    assert_eq!(service.with_cookie(planted).await, StatusCode::UNAUTHORIZED);
    assert_eq!(service.with_cookie(session).await, StatusCode::OK);
    let admin = service.key(KeyRequest::of_all("root", Role::Admin)).await;
    service.call(&admin, "DELETE", &format!("/v1/keys/{}", key.id), None).await;
    assert_eq!(service.with_cookie(session).await, StatusCode::UNAUTHORIZED);
    let (_, location, _) = service.form("/login", "key=clc_wrong".to_owned(), "").await;
    assert_eq!(location, "login?wrong=1");
}
