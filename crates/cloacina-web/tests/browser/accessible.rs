//! Every page, in light and dark, wide and narrow: no accessibility violation, no sideways scrolling, nothing
//! that its policy forbids.

use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;
use cloacina::ExecutionStatus;
use serde::Deserialize;

use crate::demo::Demo;
use crate::tab::Tab;

const AXE: &str = include_str!("../axe/axe.min.js");

/// What axe found.
#[derive(Debug, Deserialize)]
struct Violation {
    id: String,
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    html: String,
}

async fn violations(tab: &Tab) -> Vec<String> {
    tab.page.evaluate_expression(format!("{AXE}\n;0")).await.unwrap();
    let run = "axe.run(document, { resultTypes: ['violations'] }).then((found) => \
         found.violations.map((v) => ({ id: v.id, nodes: v.nodes.map((n) => ({ html: n.html })) })))";
    let run =
        EvaluateParams::builder().expression(run).await_promise(true).return_by_value(true).build().unwrap();
    let found: Vec<Violation> = tab.page.evaluate_expression(run).await.unwrap().into_value().unwrap();
    found
        .into_iter()
        .map(|violation| {
            let first = violation.nodes.first().map(|node| node.html.chars().take(300).collect::<String>());
            format!("{} × {}: {}", violation.id, violation.nodes.len(), first.unwrap_or_default())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_accessible_in_light_and_dark_and_fits_a_narrow_screen() {
    let demo = Demo::new().await;
    demo.reaches("breaks", ExecutionStatus::Failed).await;
    demo.reaches("hello", ExecutionStatus::Completed).await;
    let runs = demo.reaches("runs", ExecutionStatus::Running).await;
    demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let invoices = demo.reaches("monthly-invoice-run", ExecutionStatus::Waiting).await;
    demo.acme.schedules().trigger("nightly/import").await.unwrap();
    let execution = format!("tenants/acme/executions/{}", invoices.execution_id);
    let mut pages: Vec<(String, String)> = Demo::pages();
    pages.push(("execution".to_owned(), execution.clone()));
    pages.push(("execution-input".to_owned(), format!("{execution}?whole=input&diff=contracts")));
    for ask in ["cancel", "pause", "signal", "answer&node=release_approval", "wake&node=release_approval"] {
        let name = ask.split('&').next().unwrap_or_default();
        pages.push((format!("ask-{name}"), format!("{execution}?ask={ask}")));
    }
    let tab = Tab::open(&demo).await;
    let mut wrong = Vec::new();
    for (name, page) in &pages {
        tab.wide(360).await;
        tab.theme("dark").await;
        tab.goto(page).await;
        let width: i64 = tab.value("document.documentElement.scrollWidth").await;
        if width > 360 {
            let widest: String = tab.value("[...document.querySelectorAll('main *, .side *')].filter((e) => e.getBoundingClientRect().right > 361 && !e.closest('.scroll, pre')).map((e) => e.outerHTML.slice(0, 120)).slice(0, 3).join(' | ')").await;
            wrong.push(format!("{page} is {width} wide: {widest}"));
        }
        tab.picture(&format!("{name}-360-dark")).await;
        wrong.extend(
            violations(&tab).await.into_iter().map(|found| format!("{page}, narrow and dark: {found}")),
        );
        tab.wide(1280).await;
        tab.theme("light").await;
        tab.picture(&format!("{name}-light")).await;
        wrong.extend(
            violations(&tab).await.into_iter().map(|found| format!("{page}, wide and light: {found}")),
        );
        wrong.extend(tab.noted().await.into_iter().map(|noted| format!("{page}: {noted}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    runs.cancel().await.unwrap();
}
