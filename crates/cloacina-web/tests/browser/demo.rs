//! A service with a small workflow of everything: it fails, retries, waits, asks, and has children.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::routing::get;
use cloacina::tenants::TenantManager;
use cloacina::{
    Ask, Context, Error, Execution, ExecutionStatus, Item, OnTimeout, Runner, Schedule, TaskError, Wait,
    Workflow, task, workflow,
};
use cloacina_web::{ApiKeys, Authorize, KeyRequest, Principal, Role};
use tempfile::TempDir;

/// What ends up wherever payloads do.
pub(crate) const MARKER: &str = "MARKER-7319";

/// Whether `rates` is broken.
pub(crate) static BROKEN: AtomicBool = AtomicBool::new(true);

#[task]
async fn contracts(context: &mut Context) -> Result<(), TaskError> {
    context.set("contracts", [1_u64, 2, 3]);
    context.set("largest", 9_007_199_254_740_993_u64);
    context.remove("draft");
    context.set("customer", serde_json::json!({"name": MARKER, "city": "Zürich"}));
    Ok(())
}

#[task(retry(attempts = 2, base = "10ms"))]
async fn rates(context: &mut Context) -> Result<(), TaskError> {
    if BROKEN.load(Ordering::Relaxed) {
        return Err(TaskError::from(format!("the bank did not answer, {MARKER}\n  caused by: 503")));
    }
    context.set("rate", 0.9312);
    Ok(())
}

#[task(map = "contracts", parallel = 2, dependencies = [contracts])]
async fn draft_invoices(item: Item<u64>) -> Result<String, TaskError> {
    Ok(format!("{MARKER} {}", item.value()))
}

#[task(dependencies = [contracts])]
async fn legacy_export(context: &mut Context) -> Result<(), TaskError> {
    context.set("exported", MARKER);
    Ok(())
}

#[task]
async fn greet(context: &mut Context) -> Result<(), TaskError> {
    context.set("greeting", format!("hello, {MARKER}"));
    Ok(())
}

#[task]
async fn slow(context: &mut Context) -> Result<(), TaskError> {
    context.task().cancellation().cancelled().await;
    Err(TaskError::from("stopped"))
}

fn release() -> Wait {
    let ask = Ask::new(format!("Release 3 invoices, CHF 1’284.55 in all, {MARKER}?"));
    Wait::signal("release_approval")
        .after("contracts")
        .timeout(Duration::from_secs(48 * 3_600))
        .on_timeout(OnTimeout::Fail)
        .ask(ask.choices(["Release", "Refuse"]).role("finance"))
}

#[workflow]
fn invoices() -> Workflow {
    Workflow::builder("monthly-invoice-run")
        .task(contracts)
        .task(rates)
        .task(draft_invoices)
        .task(legacy_export)
        .wait(release())
        .wait(Wait::sleep("cool_off", Duration::from_secs(900)).after("release_approval"))
        .wait(Wait::signal("goods_received").after("cool_off").after("draft_invoices"))
        .wait(Wait::child("archive", "hello").after("goods_received").after("rates"))
        .build()
}

#[workflow]
fn hello() -> Workflow {
    Workflow::builder("hello").task(greet).build()
}

#[workflow]
fn waits() -> Workflow {
    Workflow::builder("waits-for-all")
        .task(contracts)
        .wait(release())
        .wait(Wait::sleep("cool_off", Duration::from_secs(900)))
        .wait(Wait::signal("goods_received"))
        .build()
}

#[workflow]
fn runs() -> Workflow {
    Workflow::builder("runs").task(slow).build()
}

#[workflow]
fn maps_slow() -> Workflow {
    let each = Wait::map("each", "runs").over("contracts").parallel(1).after("contracts");
    Workflow::builder("maps-slow").task(contracts).wait(each).build()
}

#[workflow]
fn breaks() -> Workflow {
    Workflow::builder("breaks").task(rates).build()
}

/// Everybody is root, but for who says otherwise by a cookie.
pub(crate) struct ByCookie;

#[async_trait::async_trait]
impl Authorize for ByCookie {
    async fn who(&self, request: &Parts) -> Result<Option<Principal>, Error> {
        let cookie =
            request.headers.get("cookie").and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
        Ok(match cookie.split("who=").nth(1).map(|who| who.split(';').next().unwrap_or_default()) {
            Some("nobody") => None,
            Some("vera") => Some(Principal::new("vera").of_all(Role::Viewer)),
            Some("acme") => Some(Principal::new("tom").of("acme", Role::Operator).with_payloads()),
            _ => Some(Principal::new("ines").of_all(Role::Admin).with_payloads()),
        })
    }
}

/// The service, its tenants, and where they are.
pub(crate) struct Demo {
    pub(crate) router: Router,
    pub(crate) tenants: TenantManager,
    pub(crate) acme: Runner,
    _directory: TempDir,
}

impl Demo {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let tenants = TenantManager::sqlite(directory.path().join("tenants")).build().await.unwrap();
        for tenant in ["acme", "globex"] {
            tenants.provision(tenant).await.unwrap();
        }
        let acme = tenants.runner("acme").await.unwrap();
        let schedule = Schedule::new("nightly/import", "hello").cron("0 2 * * *").unwrap();
        let schedule = schedule.zone("Europe/Zurich").unwrap().input(Context::new().with("in", MARKER));
        acme.schedules().put(schedule).await.unwrap();
        let router = Router::new().nest("/engine", cloacina_web::router(tenants.clone(), ByCookie));
        Self { router, tenants, acme, _directory: directory }
    }

    /// The same service, whose pages do not get their script: the policy lets no other one run.
    pub(crate) fn without_script(mut self) -> Self {
        let pages = cloacina_web::router(self.tenants.clone(), ByCookie);
        self.router = Router::new()
            .route("/engine/assets/live.js", get(async || StatusCode::NOT_FOUND))
            .nest("/engine", pages);
        self
    }

    /// The same service, which knows its callers by keys, and the secret of one for an admin.
    pub(crate) async fn with_keys(mut self) -> (Self, String) {
        let keys = ApiKeys::new(self.tenants.keys());
        let wanted = KeyRequest::of_all("the first", Role::Admin).with_payloads();
        let (secret, _) = keys.issue(wanted, "a test").await.unwrap();
        self.router = Router::new().nest("/engine", cloacina_web::router(self.tenants.clone(), keys));
        (self, secret)
    }

    /// The pages that are the same in every test, with names for their pictures.
    pub(crate) fn pages() -> Vec<(String, String)> {
        let pages = [
            ("tenants", "tenants"),
            ("tenants-new", "tenants?ask=new"),
            ("login", "login"),
            ("all", "overview"),
            ("all-executions", "executions?state=failed"),
            ("all-inbox", "inbox"),
            ("workflows", "tenants/acme/workflows"),
            ("workflow", "tenants/acme/workflows/monthly-invoice-run"),
            ("overview", "tenants/acme"),
            ("executions", "tenants/acme/executions"),
            ("executions-filtered", "tenants/acme/executions?state=failed&workflow=breaks&since=7d"),
            ("executions-none", "tenants/acme/executions?tag=none"),
            ("bulk", "tenants/acme/executions?state=failed&ask=bulk&on=filter&do=rerun"),
            ("inbox", "tenants/acme/inbox"),
            ("inbox-empty", "tenants/globex/inbox"),
            ("schedules", "tenants/acme/schedules"),
            ("schedule", "tenants/acme/schedules/nightly%2Fimport"),
            ("schedule-backfill", "tenants/acme/schedules/nightly%2Fimport?ask=backfill"),
            ("editor", "tenants/acme/schedule-editor?name=nightly%2Fimport"),
            ("settings", "tenants/acme/settings"),
            ("remove", "tenants/acme/settings?ask=remove"),
            ("runners", "tenants/acme/runners"),
            ("audit", "tenants/acme/audit?verify=1"),
            ("audit-all", "audit"),
            ("problem", "tenants/acme/executions/none"),
        ];
        pages.map(|(name, page)| (name.to_owned(), page.to_owned())).into()
    }

    /// Submits one.
    pub(crate) async fn submit(&self, workflow: &str) -> Execution {
        let input = Context::new().with("draft", true).with("in", MARKER);
        self.acme.submit(workflow).input(input).tag("night").send().await.unwrap()
    }

    /// Submits one and waits until it is in this state.
    pub(crate) async fn reaches(&self, workflow: &str, status: ExecutionStatus) -> Execution {
        let execution = self.submit(workflow).await;
        while execution.get_status().await.unwrap() != status {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        execution
    }
}
