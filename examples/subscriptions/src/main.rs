//! Two customers, each a tenant with a SQLite file of its own, and a trial that lasts half a second.
//!
//! It checks what it prints, so it ends with an error if something is not as it says.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use cloacina::tenants::TenantManager;
use cloacina::{Context, ExecutionFilter, ExecutionResult, Runner, RunnerConfig, SignalReceipt, Triggered};
use subscriptions::{Terms, for_everybody, nightly, workflows};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let half_a_second = Duration::from_millis(500);
    let terms = Terms { trial: half_a_second, patience: half_a_second, ..Terms::default() };
    let config = workflows(&terms)
        .into_iter()
        .fold(RunnerConfig::builder(), |config, workflow| config.workflow(workflow))
        .build();
    let directory = tempfile::tempdir()?;
    let tenants = TenantManager::sqlite(directory.path()).config(config).build().await?;
    tenants.schedule_all("code", for_everybody()?).await?;

    for (name, zone) in [("acme", "Europe/Zurich"), ("globex", "Asia/Tokyo")] {
        tenants.provision(name).await?;
        let customer = tenants.runner(name).await?;
        // The same again changes nothing, so this may be done whenever the program starts.
        customer.schedules().put(nightly(zone)?).await?;
    }
    let (acme, globex) = (tenants.runner("acme").await?, tenants.runner("globex").await?);

    subscriptions(&acme, &globex).await?;
    nights(&acme, &globex).await?;
    refunds(&acme).await?;

    drop((acme, globex));
    tenants.shutdown_all().await?;
    Ok(())
}

/// One customer pays during the trial, the other not at all.
async fn subscriptions(acme: &Runner, globex: &Runner) -> anyhow::Result<()> {
    let subscribe = |customer: &Runner, plan: &str| {
        customer
            .submit("subscription")
            .input(Context::new().with("plan", plan))
            .idempotency_key("first")
            .send()
    };
    let (of_acme, of_globex) = tokio::try_join!(subscribe(acme, "large"), subscribe(globex, "small"))?;

    // What a webhook of the bank does. The key lets it come twice.
    for expected in [SignalReceipt::Buffered, SignalReceipt::Repeated] {
        let sent = acme.by_key("subscription", "first").signal("paid", 49).key("bank-4711").send().await?;
        ensure!(sent == expected, "{sent:?}");
    }
    for (name, execution, expected) in [("acme", of_acme, "active"), ("globex", of_globex, "reminded")] {
        let state = said(&execution.wait_for_completion().await?, "state")?;
        println!("{name} is {state} after the trial");
        ensure!(state == expected, "{name} is {state}");
    }
    Ok(())
}

/// When the usage is counted, and a run by hand.
async fn nights(acme: &Runner, globex: &Runner) -> anyhow::Result<()> {
    for (name, customer) in [("acme", acme), ("globex", globex)] {
        let schedules = customer.schedules();
        let names: Vec<_> = schedules.list().await?.into_iter().map(|schedule| schedule.name).collect();
        ensure!(names == ["month_end", "nightly"], "{names:?}");
        let next = schedules.next("nightly", 1).await?;
        println!("{name} is counted next at {}", next.first().context("it fires every night")?);
        let Triggered::Started(id) = schedules.trigger("nightly").await? else {
            anyhow::bail!("nothing runs");
        };
        let result = customer.execution(id).wait_for_completion().await?;
        ensure!(
            result.final_context.get::<cloacina::Timestamp>("to").is_some(),
            "the run knows what it is for"
        );
    }
    // It is the operator's.
    let error = acme.schedules().delete("month_end").await.err().context("acme cannot delete it")?;
    println!("acme cannot delete `month_end`: {error}");
    Ok(())
}

/// Three refunds: one is approved, one is not, and one cannot be paid.
async fn refunds(acme: &Runner) -> anyhow::Result<()> {
    let ask = |amount: u32, expired: bool| {
        let input = Context::new().with("amount", amount).with("card_expired", expired);
        acme.submit("refund").input(input).send()
    };
    for (amount, expired, answer, expected) in
        [(120, false, "yes", Some(120)), (5_000, false, "no", Some(0)), (30, true, "yes", None)]
    {
        let refund = ask(amount, expired).await?;
        // What a page for finance shows; a service has `acme.inbox(…)` of `cloacina-web`.
        let question = loop {
            let mut asked = acme.inbox(None, 10).await?;
            asked.retain(|question| question.execution_id == refund.execution_id);
            match asked.pop() {
                Some(question) => break question,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let ask = question.ask.context("it asks")?;
        refund.signal("approved", answer).send().await?;
        let result = refund.wait_for_completion().await?;
        let refunded = result.final_context.get::<u32>("refunded");
        println!("{amount} to acme: {} {answer}; paid back: {refunded:?}", ask.question);
        ensure!(refunded == expected, "{refunded:?}");
    }
    // The failure and its alert were recorded in one commit.
    let alerts = acme.list(ExecutionFilter::all().workflow("alert"), None, 10).await?;
    ensure!(alerts.len() == 1, "{alerts:?}");
    let alert = acme.execution(alerts[0].execution_id).wait_for_completion().await?;
    let told = said(&alert, "told")?;
    println!("{told}");
    ensure!(told.contains("the card has expired"), "{told}");
    Ok(())
}

/// What an execution left in its context.
fn said(result: &ExecutionResult, key: &str) -> anyhow::Result<String> {
    result.final_context.get(key).with_context(|| format!("{result:?} says nothing of {key}"))
}
