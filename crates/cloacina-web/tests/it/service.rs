//! A service under test, called without a socket.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::{Builder, Parts};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use cloacina::database::{Database, DatabaseAdmin};
use cloacina::tenants::{Placement, TenantManager, TenantManagerBuilder};
use cloacina::{Ask, Context, Error, Item, TaskError, Wait, Workflow, task, workflow};
use cloacina_testing::cluster::{Cluster, Server};
use cloacina_web::{Authorize, Principal, Role};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

/// Believes what a header says: `name role tenant payloads`, with `*` for all tenants.
pub(crate) struct Believes;

#[async_trait::async_trait]
impl Authorize for Believes {
    async fn who(&self, request: &Parts) -> Result<Option<Principal>, Error> {
        let Some(who) = request.headers.get("x-who").and_then(|who| who.to_str().ok()) else {
            return Ok(None);
        };
        let parts: Vec<&str> = who.split(' ').collect();
        let [name, role, tenant, payloads] = parts[..] else { return Ok(None) };
        let role = Role::parse(role).expect("a role");
        let principal = Principal::new(name);
        let principal = if tenant == "*" { principal.of_all(role) } else { principal.of(tenant, role) };
        Ok(Some(if payloads == "payloads" { principal.with_payloads() } else { principal }))
    }
}

/// Somebody for [`Service::call`].
pub(crate) fn who(role: Role, tenant: &str) -> String {
    format!("{} {} {tenant} none", role.as_str(), role.as_str())
}

pub(crate) const ADMIN: &str = "root admin * payloads";
pub(crate) const VIEWER: &str = "vera viewer acme none";

/// What ends up where payloads do.
pub(crate) const SECRET: &str = "MARKER-7319";

/// Whether the task `flaky` succeeds.
pub(crate) static MENDED: AtomicBool = AtomicBool::new(false);

#[task]
async fn greet(context: &mut Context) -> Result<(), TaskError> {
    let name: String = context.get("name").unwrap_or_default();
    context.set("greeting", format!("hello {name}"));
    Ok(())
}

#[task]
async fn flaky(context: &mut Context) -> Result<(), TaskError> {
    if context.get::<bool>("mended").unwrap_or_default() || MENDED.load(Ordering::Relaxed) {
        return Ok(());
    }
    Err(TaskError::fatal(format!("the printer is on fire, {SECRET}")))
}

#[task(map = "list", parallel = 2)]
async fn square(item: Item<u64>) -> Result<u64, TaskError> {
    Ok(item.value() * item.value())
}

#[task]
async fn says(context: &mut Context) -> Result<(), TaskError> {
    Err(TaskError::fatal(context.get::<String>("says").unwrap_or_default()))
}

#[workflow]
fn says_so() -> Workflow {
    Workflow::builder("says_so").task(says).build()
}

#[workflow]
fn hello() -> Workflow {
    Workflow::builder("hello").task(greet).build()
}

#[workflow]
fn fails() -> Workflow {
    Workflow::builder("fails").task(flaky).build()
}

#[workflow]
fn maps() -> Workflow {
    Workflow::builder("maps").task(square).build()
}

#[workflow]
fn asks() -> Workflow {
    let ask = Ask::new(format!("May it go, {SECRET}?")).choices(["yes", "no"]).role("finance");
    Workflow::builder("asks").wait(Wait::signal("ready").named("go").ask(ask)).build()
}

#[workflow]
fn asks_later() -> Workflow {
    let ask = Ask::new("And now?").choices(["yes", "no"]);
    Workflow::builder("asks_later")
        .wait(Wait::signal("begin"))
        .wait(Wait::signal("ready").named("then").after("begin").ask(ask))
        .build()
}

/// Two tenants, `acme` and `globex`.
pub(crate) struct Service {
    router: Router,
    _tenants: TenantManager,
    /// Where it puts its tenants.
    pub(crate) placement: &'static str,
    _directory: Option<TempDir>,
}

/// The same test on SQLite files, and in each placement on PostgreSQL.
macro_rules! on_each_placement {
    ($(async fn $name:ident($service:ident: Service) $body:block)*) => {
        on_each_placement!(@ file (crate::service::Service::sqlite()) $($name $service $body)*);
        on_each_placement!(@ schema (crate::service::Service::postgres(Placement::Schema)) $($name $service $body)*);
        on_each_placement!(@ own_role (crate::service::Service::postgres(Placement::OwnRole)) $($name $service $body)*);
        on_each_placement!(@ shared (crate::service::Service::postgres(Placement::Shared)) $($name $service $body)*);
        on_each_placement!(@ database (crate::service::Service::postgres(Placement::Database)) $($name $service $body)*);
    };
    (@ $placement:ident ($made:expr) $($name:ident $service:ident $body:block)*) => {
        mod $placement {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let $service = $made.await;
                    Box::pin(async { $body }).await;
                }
            )*
        }
    };
}

impl Service {
    pub(crate) async fn sqlite() -> Self {
        let directory = TempDir::new().unwrap();
        let tenants = TenantManager::sqlite(directory.path().join("tenants"));
        let mut service = Self::over(tenants, Placement::File).await;
        service._directory = Some(directory);
        service
    }

    pub(crate) async fn postgres(placement: Placement) -> Self {
        Self::of_server(Cluster::shared().unwrap(), placement).await
    }

    /// On this server.
    pub(crate) async fn of_server(server: &Server, placement: Placement) -> Self {
        let url = server.fresh_database().await.unwrap();
        server.make_administrator(&url).await.unwrap();
        let name = url.rsplit('/').next().unwrap().to_owned();
        let admin = DatabaseAdmin::new(Database::new(&url, &name, 4));
        let builder = TenantManager::postgres(&url).administrator(admin).default_placement(placement);
        Self::over(builder, placement).await
    }

    async fn over(builder: TenantManagerBuilder, placement: Placement) -> Self {
        let tenants = builder.build().await.unwrap();
        for tenant in ["acme", "globex"] {
            tenants.provision(tenant).await.unwrap();
        }
        let router = cloacina_web::router(tenants.clone(), Believes);
        Self { router, _tenants: tenants, placement: placement.as_str(), _directory: None }
    }

    /// Where it listens, for who wants to send bytes.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Calls as somebody, and reads the answer.
    pub(crate) async fn call(
        &self,
        who: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let request = asked(who, method, path);
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
        };
        let response = self.send(request.unwrap()).await;
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let value =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_default() };
        (status, value)
    }

    /// The same as the administrator, where it has to succeed.
    pub(crate) async fn done(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, value) = self.call(ADMIN, method, path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {value}");
        value
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.done("GET", path, None).await
    }
}

/// The head of a request by somebody.
pub(crate) fn asked(who: &str, method: &str, path: &str) -> Builder {
    let method: Method = method.parse().unwrap();
    let request = Request::builder().method(method).uri(path);
    if who.is_empty() { request } else { request.header("x-who", who) }
}

/// Looks until it is so.
pub(crate) async fn until(what: impl AsyncFn() -> bool) {
    for _ in 0..2_000 {
        if what().await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}
