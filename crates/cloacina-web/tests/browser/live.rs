//! Pages change while somebody looks at them.

use cloacina::ExecutionStatus;

use crate::demo::Demo;
use crate::tab::Tab;

#[tokio::test(flavor = "multi_thread")]
async fn a_page_changes_when_its_execution_does_and_not_while_it_is_held() {
    let demo = Demo::new().await;
    let waits = demo.reaches("waits-for-all", ExecutionStatus::Waiting).await;
    let tab = Tab::open(&demo).await;
    tab.goto(&format!("tenants/acme/executions/{}", waits.execution_id)).await;
    tab.until("document.querySelector('#live').textContent.startsWith('Live')").await;
    _ = tab.value::<bool>("(window.same = true)").await;
    waits.signal("goods_received", 1).send().await.unwrap();
    tab.until("!document.querySelector('#waits').innerText.includes('goods_received')").await;
    assert!(tab.value::<bool>("window.same === true").await, "the page was loaded anew");
    tab.press("Hold").await;
    tab.until("document.querySelector('#live').textContent.startsWith('Held at')").await;
    waits.cancel().await.unwrap();
    let runs = demo.reaches("hello", ExecutionStatus::Completed).await;
    assert!(tab.value::<bool>("document.querySelector('h1 + .btns') !== null").await);
    tab.press("Go on").await;
    tab.says("Cancelled").await;
    assert!(tab.value::<bool>("window.same === true").await);
    assert_eq!(tab.noted().await, Vec::<String>::new());
    drop(runs);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_change_in_their_places_and_new_ones_are_counted() {
    let demo = Demo::new().await;
    let runs = demo.reaches("runs", ExecutionStatus::Running).await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/executions").await;
    tab.until("document.querySelector('#live').textContent.startsWith('Live')").await;
    runs.cancel().await.unwrap();
    tab.until("document.querySelector('tbody tr').innerText.includes('Cancelled')").await;
    demo.submit("hello").await;
    tab.until("document.querySelector('#newer').innerText.startsWith('1 newer')").await;
    assert_eq!(tab.value::<usize>("document.querySelectorAll('tbody tr').length").await, 1);
    tab.click("#newer a").await;
    tab.until("document.querySelectorAll('tbody tr').length === 2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_nobody_sees_keeps_no_stream_and_is_true_when_it_is_seen_again() {
    let demo = Demo::new().await;
    let runs = demo.reaches("runs", ExecutionStatus::Running).await;
    let tab = Tab::open(&demo).await;
    let count = "const Real = EventSource; window.streams = []; \
        window.EventSource = class extends Real { constructor(url) { super(url); window.streams.push(this); } }; \
        window.EventSource.CLOSED = Real.CLOSED;";
    tab.page.evaluate_on_new_document(count).await.unwrap();
    tab.goto(&format!("tenants/acme/executions/{}", runs.execution_id)).await;
    tab.until("document.querySelector('#live').textContent.startsWith('Live')").await;
    let see = |hidden: bool| {
        format!(
            "(Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}), \
             document.dispatchEvent(new Event('visibilitychange')))"
        )
    };
    assert!(tab.value::<bool>(&see(true)).await);
    assert!(tab.value::<bool>("streams.every((stream) => stream.readyState === EventSource.CLOSED)").await);
    runs.cancel().await.unwrap();
    assert!(tab.value::<bool>(&see(false)).await);
    tab.says("Cancelled").await;
    assert_eq!(tab.value::<usize>("streams.length").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_lead_through_the_pages() {
    let demo = Demo::new().await;
    demo.reaches("hello", ExecutionStatus::Completed).await;
    let tab = Tab::open(&demo).await;
    tab.goto("tenants/acme/executions").await;
    let body = tab.page.find_element("body").await.unwrap();
    body.press_key("j").await.unwrap();
    tab.until("document.activeElement.matches('a')").await;
    body.press_key("/").await.unwrap();
    tab.until("document.activeElement.id === 'filter'").await;
    _ = tab.value::<bool>("(document.activeElement.blur(), true)").await;
    body.press_key("g").await.unwrap();
    body.press_key("i").await.unwrap();
    tab.until("location.pathname.endsWith('/inbox')").await;
}
