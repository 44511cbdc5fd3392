//! All pages, by their links.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use cloacina::ExecutionStatus;
use tower::ServiceExt as _;

use crate::demo::{Demo, MARKER};

/// The largest page.
const MOST: usize = 60_000;

/// Where a link on a page leads.
fn resolved(page: &str, link: &str) -> Option<String> {
    let link = link.split('#').next()?.replace("&amp;", "&");
    let (path, _) = page.split_once('?').unwrap_or((page, ""));
    if link.is_empty() || link.contains("://") {
        return None;
    }
    if let Some(query) = link.strip_prefix('?') {
        return Some(format!("{path}?{query}"));
    }
    assert!(!link.starts_with('/'), "the link {link} of {page} works under one path only");
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

async fn get(demo: &Demo, who: &str, page: &str) -> (StatusCode, String, String) {
    let request =
        Request::builder().uri(page).header("cookie", format!("who={who}")).body(Body::empty()).unwrap();
    let response = demo.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let location =
        response.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, location, String::from_utf8(body.to_vec()).unwrap())
}

/// All pages that links lead to, with their texts.
async fn crawl(demo: &Demo, who: &str) -> BTreeMap<String, String> {
    let mut left = VecDeque::from(["/engine/home".to_owned()]);
    let mut seen = BTreeSet::new();
    let mut pages = BTreeMap::new();
    while let Some(page) = left.pop_front() {
        // The parts of lists and the choice of a look are the same again.
        if page.contains("/look?") || page.contains("/assets/") || !seen.insert(page.clone()) {
            continue;
        }
        let (status, location, text) = get(demo, who, &page).await;
        if status == StatusCode::SEE_OTHER {
            left.extend(resolved(&page, &location));
            continue;
        }
        assert_eq!(status, StatusCode::OK, "{page}: {text}");
        for link in text.split(" href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            left.extend(resolved(&page, link));
        }
        pages.insert(page, text);
        assert!(pages.len() < 2_000, "the links have no end");
    }
    pages
}

async fn busy() -> Demo {
    let demo = Demo::new().await;
    demo.reaches("breaks", ExecutionStatus::Failed).await;
    demo.reaches("hello", ExecutionStatus::Completed).await;
    let waits = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let sent = serde_json::json!({ "note": MARKER });
    waits.signal("goods_received", &sent).send().await.unwrap();
    waits.signal("later", &sent).send().await.unwrap();
    demo.reaches("monthly-invoice-run", ExecutionStatus::Waiting).await;
    demo.acme.schedules().trigger("nightly/import").await.unwrap();
    demo
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_without_payloads_sees_not_a_byte_of_them_on_any_page() {
    let demo = busy().await;
    let pages = crawl(&demo, "vera").await;
    assert!(pages.len() > 25, "{:?}", pages.keys());
    for (page, text) in &pages {
        let found = text.find(MARKER).map(|at| text[at.saturating_sub(200)..at + MARKER.len()].to_owned());
        assert_eq!(found, None, "{page}");
        assert!(!text.contains("method=\"post\""), "{page} offers a viewer a form");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_leads_somewhere_and_no_page_is_too_large() {
    let demo = busy().await;
    let pages = crawl(&demo, "ines").await;
    assert!(pages.len() > 40, "{:?}", pages.keys());
    for (page, text) in &pages {
        assert!(text.len() <= MOST, "{page} has {} bytes", text.len());
        assert!(!text.contains(" style=\"") && !text.contains("onclick"), "{page} needs a laxer policy");
    }
    // What the crawl is worth: the payloads are there for who may see them.
    assert!(pages.values().filter(|text| text.contains(MARKER)).count() > 5);
    let largest = pages.iter().map(|(page, text)| (text.len(), page)).max().unwrap();
    println!("{} pages, the largest {largest:?}", pages.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_of_one_tenant_is_led_there_and_sees_no_other() {
    let demo = busy().await;
    let pages = crawl(&demo, "acme").await;
    assert!(pages.keys().all(|page| page.starts_with("/engine/tenants/acme")), "{:?}", pages.keys());
    let (status, _, text) = get(&demo, "acme", "/engine/tenants/globex").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    assert!(text.contains("Not for you"), "{text}");
    let (status, ..) = get(&demo, "nobody", "/engine/tenants/acme").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}
