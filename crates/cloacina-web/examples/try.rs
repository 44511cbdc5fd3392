#[path = "../tests/browser/demo.rs"]
mod demo;
#[tokio::main]
async fn main() {
    let demo = demo::Demo::new().await;
    demo.reaches("breaks", cloacina::ExecutionStatus::Failed).await;
    demo.reaches("hello", cloacina::ExecutionStatus::Completed).await;
    demo.submit("runs").await;
    demo.submit("waits-for-all").await;
    let e = demo.submit("monthly-invoice-run").await;
    println!("{} {:?}", e.execution_id, demo.tenants);
    let l = tokio::net::TcpListener::bind("127.0.0.1:8099").await.unwrap();
    axum::serve(l, demo.router.clone()).await.unwrap();
}
