//! Every action, by real clicks.

use cloacina::{Execution, ExecutionStatus, ScheduleState};

use crate::demo::Demo;
use crate::tab::Tab;

async fn comes_to(execution: &Execution, status: ExecutionStatus) {
    while execution.get_status().await.unwrap() != status {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn page(execution: &Execution) -> String {
    format!("tenants/acme/executions/{}", execution.execution_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_is_paused_resumed_cancelled_and_rerun() {
    let demo = Demo::new().await;
    let runs = demo.reaches("runs", ExecutionStatus::Running).await;
    let tab = Tab::open(&demo).await;
    tab.goto(&page(&runs)).await;
    tab.press("Pause…").await;
    tab.confirm("Pause the execution").await;
    tab.says("Nothing further starts").await;
    comes_to(&runs, ExecutionStatus::Paused).await;
    tab.press("Resume…").await;
    tab.confirm("Resume the execution").await;
    tab.says("What is ready starts").await;
    comes_to(&runs, ExecutionStatus::Running).await;
    // A question that is put away changes nothing.
    tab.press("Cancel…").await;
    tab.until("document.querySelector('dialog:modal')").await;
    tab.press("Keep it running").await;
    tab.until("!document.querySelector('dialog')").await;
    tab.press("Cancel…").await;
    tab.confirm("Cancel the execution").await;
    tab.says("told to stop").await;
    comes_to(&runs, ExecutionStatus::Cancelled).await;
    tab.press("Rerun…").await;
    tab.choose("from", "start").await;
    tab.confirm("Rerun the execution").await;
    tab.says("took the place of the other one").await;
    tab.says("Rerun of").await;
    // The audit knows who did it, and why.
    tab.goto("tenants/acme/audit?verify=1").await;
    tab.says("sealed and as they were").await;
    let rows: Vec<String> = tab
        .value("[...document.querySelectorAll('tbody tr')].map((tr) => tr.innerText.replace(/\\s+/g, ' '))")
        .await;
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in &rows {
        assert!(row.starts_with("ines admin ") && row.contains(" a test "), "{row}");
    }
    assert_eq!(tab.noted().await, Vec::<String>::new());
    let again = demo.acme.get_execution(runs.execution_id).await.unwrap().superseded_by.unwrap();
    demo.acme.execution(again).cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_are_answered_woken_and_signalled() {
    let demo = Demo::new().await;
    let waits = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto(&page(&waits)).await;
    tab.press("Answer…").await;
    tab.choose("answer", "Release").await;
    tab.press("Answer").await;
    tab.says("The wait takes the answer").await;
    tab.goto(&format!("{}?ask=wake&node=cool_off", page(&waits))).await;
    tab.confirm("Wake it").await;
    tab.says("The time of the wait is over now").await;
    tab.goto(&page(&waits)).await;
    tab.press("Send it…").await;
    tab.write("payload", "{\"pallets\": 3}").await;
    tab.confirm("Send the signal").await;
    tab.says("A wait for it was open").await;
    comes_to(&waits, ExecutionStatus::Completed).await;
    let context = demo.acme.get_execution(waits.execution_id).await.unwrap().final_context;
    assert_eq!(context.get::<String>("release_approval").unwrap(), "Release");
    assert_eq!(context.get::<serde_json::Value>("goods_received").unwrap()["pallets"], 3);
    assert_eq!(tab.noted().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_in_the_inbox() {
    let demo = Demo::new().await;
    let waits = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/inbox").await;
    tab.says("1 question").await;
    tab.write("reason", "checked").await;
    tab.press("Refuse").await;
    tab.says("The wait takes the answer").await;
    tab.says("Nobody is asked anything").await;
    while !waits.waits().await.unwrap().iter().all(|wait| wait.ask.is_none()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    waits.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sees_all_tenants_answers_a_question_of_one_of_them() {
    let demo = Demo::new().await;
    demo.reaches("breaks", ExecutionStatus::Failed).await;
    let waits = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto("overview").await;
    tab.says("breaks of acme failed: 1 execution").await;
    tab.press("Answer").await;
    tab.says("1 question here").await;
    tab.press("Release").await;
    tab.says("The wait takes the answer").await;
    while !waits.waits().await.unwrap().iter().all(|wait| wait.ask.is_none()) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tab.goto("executions?workflow=breaks").await;
    tab.click("tbody a.id").await;
    tab.says("Tasks over time").await;
    waits.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn more_children_of_a_map_run_at_once() {
    let demo = Demo::new().await;
    let maps = demo.reaches("maps-slow", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto(&page(&maps)).await;
    tab.press("At once…").await;
    tab.write("parallel", "3").await;
    tab.confirm("Set it").await;
    tab.says("So many children may be open").await;
    while maps.progress().await.unwrap()[0].running() != 3 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    tab.until("document.querySelectorAll('#children tbody tr').length === 3").await;
    maps.cancel().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_looked_at_paused_resumed_triggered_and_deleted() {
    let demo = Demo::new().await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/schedules").await;
    tab.press("New schedule").await;
    tab.write("name", "weekly <report>").await;
    tab.write("workflow", "hello").await;
    tab.write("cron", "61 * * * *").await;
    tab.press("When would it fire?").await;
    tab.says("Not done").await;
    tab.write("cron", "0 8 * * MON").await;
    tab.press("When would it fire?").await;
    tab.says("08:00:00 UTC").await;
    tab.until("document.querySelectorAll('#preview dt').length === 8").await;
    assert!(demo.acme.schedules().get("weekly <report>").await.is_err());
    tab.press("Save").await;
    tab.says("The schedule fires by what it says now").await;
    let info = demo.acme.schedules().get("weekly <report>").await.unwrap();
    assert_eq!(info.cron, ["0 8 * * MON"]);
    tab.press("Pause…").await;
    tab.confirm("Pause the schedule").await;
    tab.says("Paused").await;
    tab.press("Resume…").await;
    tab.confirm("Resume the schedule").await;
    tab.press("Trigger…").await;
    tab.confirm("Start an execution now").await;
    tab.says("An execution was started").await;
    let info = demo.acme.schedules().get("weekly <report>").await.unwrap();
    assert_eq!(info.state, ScheduleState::Active);
    tab.press("Backfill…").await;
    tab.write("from", "2026-01-01T00:00:00Z").await;
    tab.write("to", "2026-01-12T00:00:00Z").await;
    tab.confirm("Start them").await;
    tab.says("the oldest time first").await;
    tab.press("Edit").await;
    tab.until("document.querySelector('[name=cron]')?.value === '0 8 * * MON'").await;
    tab.goto("tenants/acme/schedules/weekly%20%3Creport%3E").await;
    tab.press("Delete…").await;
    tab.confirm("Delete the schedule").await;
    tab.says("The schedule is gone").await;
    assert!(demo.acme.schedules().get("weekly <report>").await.is_err());
    assert_eq!(tab.noted().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_made_and_removed_with_the_name_typed() {
    let demo = Demo::new().await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants").await;
    tab.press("New tenant…").await;
    tab.write("name", "initech").await;
    tab.confirm("Make the tenant").await;
    tab.says("The tenant is there").await;
    tab.says("a file").await;
    tab.press("Remove…").await;
    tab.write("name", "initec").await;
    tab.confirm("Remove for good").await;
    tab.says("nothing was removed").await;
    assert_eq!(demo.tenants.list().await.unwrap().len(), 3);
    tab.goto("tenants/initech/settings").await;
    tab.press("Remove…").await;
    tab.write("name", "initech").await;
    tab.confirm("Remove for good").await;
    tab.says("The tenant is gone").await;
    assert_eq!(demo.tenants.list().await.unwrap(), ["acme", "globex"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_logs_in_with_a_key_makes_another_one_and_ends_it() {
    let demo = Demo::new().await;
    let (demo, secret) = demo.with_keys().await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme").await;
    tab.says("Log in").await;
    tab.write("key", "clc_wrong").await;
    tab.press("Log in").await;
    tab.says("Not let in").await;
    tab.write("key", &secret).await;
    tab.press("Log in").await;
    tab.until("location.pathname.endsWith('/overview') || document.querySelector('.side nav')").await;
    tab.goto("keys").await;
    tab.press("New key…").await;
    tab.write("name", "deploys").await;
    tab.choose("role", "viewer").await;
    tab.press("Make the key").await;
    tab.until("document.querySelector('#secret')?.textContent.startsWith('clc_')").await;
    tab.press("It is kept").await;
    tab.says("deploys").await;
    let shows_it: bool = tab.value("/clc_[0-9A-Za-z]{8}/.test(document.body.innerText)").await;
    assert!(!shows_it, "a secret is shown again");
    let end = "[...document.querySelectorAll('tr')].find((tr) => tr.innerText.includes('deploys')).querySelector('a.bad').click()";
    tab.page.evaluate_expression(end).await.unwrap();
    tab.press("End the key").await;
    tab.says("The key opens nothing from now on").await;
    tab.press("Log out").await;
    tab.says("With a key that an admin made for you").await;
    tab.goto("tenants/acme").await;
    tab.says("With a key that an admin made for you").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_acted_on_by_ticks_and_by_the_filter() {
    let demo = Demo::new().await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(demo.reaches("runs", ExecutionStatus::Running).await);
    }
    let other = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/executions").await;
    for execution in &runs[..2] {
        tab.click(&format!("input[value='{}']", execution.execution_id)).await;
    }
    tab.until("document.querySelector('[data-ticked]').textContent === '2'").await;
    tab.press("Pause…").await;
    tab.says("Pause 2 executions?").await;
    tab.confirm("Pause 2").await;
    tab.says("With all that were ticked").await;
    comes_to(&runs[0], ExecutionStatus::Paused).await;
    comes_to(&runs[1], ExecutionStatus::Paused).await;
    assert_eq!(runs[2].get_status().await.unwrap(), ExecutionStatus::Running);
    tab.goto("tenants/acme/executions?workflow=runs").await;
    tab.click("input[name=on][value=filter]").await;
    tab.press("Cancel…").await;
    tab.says("Cancel 3 executions?").await;
    tab.confirm("Cancel 3").await;
    tab.says("3 done, 0 refused").await;
    for execution in &runs {
        comes_to(execution, ExecutionStatus::Cancelled).await;
    }
    assert_eq!(other.get_status().await.unwrap(), ExecutionStatus::Waiting);
    assert_eq!(tab.noted().await, Vec::<String>::new());
}
