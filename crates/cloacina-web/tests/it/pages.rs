//! What pages are, whoever looks at them. A browser looks at them in `tests/browser`.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode};
use cloacina::tenants::Placement;
use cloacina::{Context, RetryPolicy, Runner, RunnerConfig, TaskDefinition, TaskError, Workflow};
use cloacina_web::Role;
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::service::{ADMIN, Believes, Service, asked, who};

async fn got(service: &Service, who: &str, path: &str) -> (StatusCode, HeaderMap, String) {
    let response = service.send(asked(who, "GET", path).body(Body::empty()).unwrap()).await;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, headers, String::from_utf8(body.to_vec()).unwrap())
}

/// Sends a form as the administrator; where it leads, or the page that it answers.
async fn sent(service: &Service, path: &str, body: &str) -> (StatusCode, String, String) {
    let request = asked(ADMIN, "POST", path).header("content-type", "application/x-www-form-urlencoded");
    let response = service.send(request.body(Body::from(body.to_owned())).unwrap()).await;
    let status = response.status();
    let to = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, to, String::from_utf8(body.to_vec()).unwrap())
}

on_each_placement! {
    async fn the_operator_decides_about_a_tenant_on_its_page(service: Service) {
        let settings = async || got(&service, ADMIN, "/tenants/acme/settings").await.2;
        let form = async |action: &str, fields: &str| sent(&service, &format!("/tenants/acme/{action}"), fields).await;
        if service.placement == "file" {
            let (status, _, text) = form("suspend", "reason=unpaid").await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
            assert!(settings().await.contains("disabled"));
            return;
        }
        let (status, to, text) = form("limits", "max_queue_length=4711&max_context_bytes=&reason=a").await;
        assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, "../../tenants/acme/settings?said=limits"), "{text}");
        assert!(settings().await.contains("4,711"));
        let (status, _, text) = form("limits", "max_queue_length=many").await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        let (status, ..) = form("suspend", "reason=unpaid").await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        assert!(settings().await.contains("Suspended"));
        let (status, _, text) = got(&service, ADMIN, "/tenants/acme").await;
        assert_eq!(status, StatusCode::OK, "{text}");
        assert!(text.contains("Tenant suspended"), "{text}");
        let (status, ..) = form("activate", "reason=paid").await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        assert!(!settings().await.contains("Suspended"));
        if cfg!(feature = "postgres") && service.placement == "own_role" {
            let (status, _, text) = form("rotate", "reason=leaked").await;
            assert_eq!(status, StatusCode::OK, "{text}");
            assert!(text.contains("shown once"), "{text}");
        }
        let (status, ..) = form("remove", "name=globex&reason=wrong").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let (status, to, text) = form("remove", "name=acme&reason=gone").await;
        assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, "../../tenants?said=removed"), "{text}");
        let (status, ..) = got(&service, ADMIN, "/tenants/acme").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }

    async fn every_page_of_a_tenant_is_there(service: Service) {
        for page in ["", "/executions", "/inbox", "/schedules", "/schedule-editor", "/workflows", "/settings", "/runners"] {
            let (status, _, text) = got(&service, ADMIN, &format!("/tenants/acme{page}")).await;
            assert_eq!(status, StatusCode::OK, "{page}: {text}");
        }
        for page in ["/overview", "/tenants"] {
            let (status, _, text) = got(&service, ADMIN, page).await;
            assert_eq!(status, StatusCode::OK, "{page}: {text}");
            assert!(text.contains("acme") && text.contains("globex"), "{page}: {text}");
        }
    }
}

#[tokio::test]
async fn a_page_says_what_it_may_load_and_is_kept_nowhere() {
    let service = Service::sqlite().await;
    for (who, path, status) in [
        (ADMIN, "/tenants/acme", StatusCode::OK),
        (ADMIN, "/tenants/acme/executions/none", StatusCode::BAD_REQUEST),
        (ADMIN, "/tenants/acme/schedules/none", StatusCode::NOT_FOUND),
        ("", "/tenants/acme", StatusCode::UNAUTHORIZED),
        (&who(Role::Admin, "globex"), "/tenants/acme", StatusCode::FORBIDDEN),
    ] {
        let (got, headers, text) = got(&service, who, path).await;
        assert_eq!(got, status, "{path}: {text}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("base-uri 'none'"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        assert!(text.starts_with("<!DOCTYPE html>"), "{path}: {text}");
    }
}

#[tokio::test]
async fn a_problem_is_a_page_to_people_and_json_to_programs() {
    let service = Service::sqlite().await;
    let (_, headers, text) = got(&service, ADMIN, "/tenants/acme/executions/%3Cscript%3E").await;
    assert_eq!(headers["content-type"], "text/html; charset=utf-8");
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script>"), "{text}");
    let (_, headers, _) = got(&service, ADMIN, "/nothing/here").await;
    assert_eq!(headers["content-type"], "application/problem+json");
    let asks = asked(ADMIN, "GET", "/nothing/here").header("accept", "text/html,*/*;q=0.8");
    let missing = service.send(asks.body(Body::empty()).unwrap()).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(missing.headers()["content-type"], "text/html; charset=utf-8");
    let (status, _, text) = sent(&service, "/tenants/acme/executions/none/cancel", "reason=a").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("href=\"../../../../tenants/acme/executions/none\" data-back"), "{text}");
    let (_, headers, _) = got(&service, ADMIN, "/v1/tenants/acme/executions/none").await;
    assert_eq!(headers["content-type"], "application/problem+json");
}

#[tokio::test]
async fn a_file_that_is_known_is_not_sent_again() {
    let service = Service::sqlite().await;
    for file in ["/assets/style.css", "/assets/live.js"] {
        let (status, headers, text) = got(&service, "", file).await;
        assert_eq!(status, StatusCode::OK);
        assert!(!text.is_empty());
        let again = asked("", "GET", file).header("if-none-match", headers["etag"].clone());
        let again = service.send(again.body(Body::empty()).unwrap()).await;
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
    let (status, ..) = got(&service, "", "/assets/..%2Fpages.rs").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_choice_of_a_look_leads_to_no_other_site() {
    let service = Service::sqlite().await;
    for back in ["//evil.example", "https://evil.example", "/%5Cevil.example", "%0d%0aset-cookie:%20a=b"] {
        let (status, headers, _) = got(&service, "", &format!("/look?to=dark&back={back}")).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let to = headers["location"].to_str().unwrap();
        assert!(to.starts_with("./") && !to.contains('\\'), "{to}");
        assert_eq!(headers["set-cookie"], "cloacina_look=dark; Max-Age=31536000; SameSite=Lax; HttpOnly");
    }
}

#[tokio::test]
async fn an_execution_with_ten_thousand_attempts_is_a_page_like_any_other() {
    let directory = TempDir::new().unwrap();
    let fails = |number: usize| {
        let code = |_: Context| async { Err::<Context, TaskError>(TaskError::from("no")) };
        let (base, cap) = (Duration::from_millis(1), Duration::from_millis(1));
        let retry = RetryPolicy { attempts: 100, base, cap, ..RetryPolicy::DEFAULT };
        TaskDefinition::from_async(format!("task-{number}"), code).retry(retry)
    };
    let workflow = (0..100).fold(Workflow::builder("many"), |workflow, number| workflow.task(fails(number)));
    let url = format!("sqlite://{}", directory.path().join("many.db").display());
    let config = RunnerConfig::builder().workflow(workflow.build()).build();
    let runner = Runner::builder().config(config).database_url(url).build().await.unwrap();
    let many = runner.execute("many", Context::new()).await.unwrap().execution_id;
    assert_eq!(runner.execution(many).history().await.unwrap().len(), 10_000);
    let place = runner.place().to_owned();
    let router = cloacina_web::router(runner, Believes);
    for query in ["", "?attempts=0", "?attempts=9999", "?errors=999", "?tasks=3"] {
        let path = format!("/tenants/{place}/executions/{many}{query}");
        let request = asked(ADMIN, "GET", &path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let text = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        assert!(text.len() <= 60_000, "{query}: {} bytes", text.len());
    }
}
