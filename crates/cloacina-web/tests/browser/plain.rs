//! Pages without JavaScript.

use cloacina::ExecutionStatus;

use crate::demo::Demo;
use crate::tab::Tab;

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_read_and_done_without_javascript() {
    let demo = Demo::new().await.without_script();
    let runs = demo.reaches("runs", ExecutionStatus::Running).await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/executions").await;
    tab.says("As of").await;
    tab.click("tbody a.id").await;
    tab.says("Tasks over time").await;
    tab.press("Cancel…").await;
    tab.until("location.search === '?ask=cancel' && document.querySelector('dialog[open]')").await;
    tab.confirm("Cancel the execution").await;
    tab.says("told to stop").await;
    while runs.get_status().await.unwrap() != ExecutionStatus::Cancelled {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // The ticked ones go by the address.
    tab.goto("tenants/acme/executions").await;
    tab.click("input[type=checkbox]").await;
    tab.press("Rerun…").await;
    tab.choose("from", "start").await;
    tab.confirm("Rerun 1").await;
    tab.says("With all that were ticked").await;
    // The menu of narrow screens.
    tab.wide(360).await;
    tab.goto("tenants/acme").await;
    tab.press("Menu").await;
    tab.press("Inbox").await;
    tab.says("Nobody is asked anything").await;
    let again = demo.acme.get_execution(runs.execution_id).await.unwrap().superseded_by.unwrap();
    demo.acme.execution(again).cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_chooses_light_or_dark() {
    let demo = Demo::new().await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/executions?state=failed").await;
    tab.press("Dark").await;
    tab.until("document.documentElement.className === 'dark' && location.search === '?state=failed'").await;
    tab.goto("tenants/acme").await;
    tab.until("document.documentElement.className === 'dark'").await;
    tab.press("System").await;
    tab.until("document.documentElement.className === ''").await;
}
