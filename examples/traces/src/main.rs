//! Traces over processes: one submits an order, another one works it off, and a collector of OpenTelemetry
//! shows both as one trace.
//!
//! ```console
//! $ docker run -p 4318:4318 -p 16686:16686 jaegertracing/jaeger
//! $ cargo run -p traces -- submit orders.db      # a shop: takes an order, and goes on
//! $ cargo run -p traces -- work orders.db        # works off all orders, and ends
//! ```
//!
//! Without a collector add `OTEL_TRACES_EXPORTER=none`. The spans go to `OTEL_EXPORTER_OTLP_ENDPOINT`, which
//! is `http://localhost:4318` unless it is set.

use std::time::Duration;

use anyhow::bail;
use cloacina::{
    Context, ExecutionFilter, ExecutionStatus, Runner, TaskError, Wait, Workflow, task, workflow,
};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Instrument, info, info_span};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

#[task(retry(attempts = 2, backoff = fixed, base = "100ms"))]
async fn charge(cx: &mut Context) -> Result<(), TaskError> {
    // What a task does is in the span of its attempt.
    let answer =
        bank(cx.task().attempt()).instrument(info_span!("POST /charges", otel.kind = "client")).await;
    cx.set("receipt", answer?);
    Ok(())
}

/// A bank that is not there at first.
async fn bank(attempt: u32) -> Result<u32, TaskError> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    if attempt == 1 { Err("the bank does not answer".into()) } else { Ok(4711) }
}

#[task(dependencies = ["pack"])]
async fn ship(cx: &mut Context) -> Result<(), TaskError> {
    info!(receipt = cx.get::<u32>("receipt"), "shipped");
    Ok(())
}

#[workflow]
fn order() -> Workflow {
    Workflow::builder("order")
        .task(charge)
        .wait(Wait::sleep("pack", Duration::from_millis(500)).after(charge))
        .task(ship)
        .build()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [verb, file] = &arguments[..] else { bail!("usage: traces submit|work <file>") };
    let provider = traces(verb)?;
    let done = match verb.as_str() {
        "submit" => submit(file).await,
        "work" => work(file).await,
        _ => bail!("usage: traces submit|work <file>"),
    };
    // What was not sent yet is sent now.
    tokio::task::spawn_blocking(move || provider.shutdown()).await??;
    done
}

/// Sends spans to a collector, as the service of this name, and logs to standard error.
fn traces(service: &str) -> anyhow::Result<SdkTracerProvider> {
    let mut provider = SdkTracerProvider::builder()
        .with_resource(Resource::builder().with_service_name(format!("shop-{service}")).build());
    if std::env::var("OTEL_TRACES_EXPORTER").as_deref() != Ok("none") {
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpJson).build()?;
        provider = provider.with_batch_exporter(exporter);
    }
    let provider = provider.build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("shop"));
    let fmt = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    // The exporter's own requests would be traced as well.
    let filter = || EnvFilter::new("warn,traces=info,cloacina=info");
    tracing_subscriber::registry().with(layer.with_filter(filter())).with(fmt.with_filter(filter())).init();
    Ok(provider)
}

/// What a web service does in a request.
async fn submit(file: &str) -> anyhow::Result<()> {
    let shop = Runner::builder().database_url(format!("sqlite://{file}")).submit_only().build().await?;
    let execution =
        async { shop.submit("order").input(Context::new().with("item", "umbrella")).send().await }
            .instrument(info_span!("POST /orders", otel.kind = "server"))
            .await?;
    println!("{}", execution.execution_id);
    shop.shutdown().await?;
    Ok(())
}

/// What a worker does, which here ends when there is nothing left to do.
async fn work(file: &str) -> anyhow::Result<()> {
    let worker = Runner::new(&format!("sqlite://{file}")).await?;
    for open in [ExecutionStatus::Pending, ExecutionStatus::Running, ExecutionStatus::Waiting] {
        for order in worker.list(ExecutionFilter::all().status(open), None, 100).await? {
            let done = worker.execution(order.execution_id).wait_for_completion().await?;
            println!("{} {}", done.execution_id, done.status);
        }
    }
    worker.shutdown().await?;
    Ok(())
}
