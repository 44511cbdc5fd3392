//! Who may do what: every role on every route.

use axum::body::Body;
use axum::http::StatusCode;
use cloacina_web::{Role, Route, routes};

use crate::service::{Service, asked, who};

/// A path of the route in a tenant, with ids of nothing.
fn path(route: &Route, tenant: &str) -> String {
    let nothing = "0192f0c1-2a3b-7c4d-8e5f-001122334455";
    let parts = route.path.split('/').map(|part| match part {
        "{tenant}" => tenant,
        _ if part.starts_with('{') => nothing,
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

async fn is_let_in(service: &Service, who: &str, route: &Route, tenant: &str) -> bool {
    let request = asked(who, route.method.as_str(), &path(route, tenant)).body(Body::empty()).unwrap();
    let status = service.send(request).await.status();
    assert!(status != StatusCode::NOT_FOUND || !route.path.ends_with("tenants"), "{route:?}: {status}");
    status != StatusCode::FORBIDDEN && status != StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn every_route_lets_in_those_with_its_role_and_nobody_else() {
    let service = Service::sqlite().await;
    let routes = routes();
    assert!(routes.len() > 40, "{} routes", routes.len());
    for route in &routes {
        assert!(!is_let_in(&service, "", route, "acme").await, "a stranger: {route:?}");
        for role in Role::ALL {
            let suffices = role >= route.role;
            let own = is_let_in(&service, &who(role, "acme"), route, "acme").await;
            assert_eq!(own, suffices && route.in_tenant, "{role:?} of acme in acme: {route:?}");
            let other = is_let_in(&service, &who(role, "globex"), route, "acme").await;
            assert!(!other, "{role:?} of globex in acme: {route:?}");
            let all = is_let_in(&service, &who(role, "*"), route, "acme").await;
            assert_eq!(all, suffices, "{role:?} of all in acme: {route:?}");
        }
    }
}

#[tokio::test]
async fn who_may_not_is_told_the_same_whether_the_tenant_exists_or_not() {
    let service = Service::sqlite().await;
    let mine = who(Role::Admin, "acme");
    let mut answers = Vec::new();
    for tenant in ["globex", "initech"] {
        let (status, body) =
            service.call(&mine, "GET", &format!("/v1/tenants/{tenant}/executions"), None).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        answers.push(body.to_string().replace(tenant, "it"));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn what_another_site_has_a_browser_send_is_refused_whoever_it_is() {
    let service = Service::sqlite().await;
    let path = "/v1/tenants/acme/executions";
    let admin = crate::service::ADMIN;
    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
        let request = asked(admin, "POST", path).header(name, value).header("host", "engine.example");
        let request = request.header("content-type", "application/json");
        let request = request.body(Body::from(r#"{"workflow":"hello"}"#)).unwrap();
        assert_eq!(service.send(request).await.status(), StatusCode::FORBIDDEN, "{name}");
    }
    assert_eq!(service.get(path).await["items"].as_array().unwrap().len(), 0);
}
