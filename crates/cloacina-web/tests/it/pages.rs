//! What pages are, whoever looks at them. A browser looks at them in `tests/browser`.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode};
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
