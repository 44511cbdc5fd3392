//! What a service that sells subscriptions does by itself: trials end, invoices are sent, reminders come
//! after three days, usage is counted every night in the customer's own zone, and refunds wait for a human.

use std::time::Duration;

use cloacina::{Ask, Context, Error, OnTimeout, Schedule, TaskError, Wait, Workflow, task};

/// How long things take. Those of the program are short, so that one can watch.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// How long a customer need not pay.
    pub trial: Duration,
    /// How long after the invoice a reminder is sent.
    pub patience: Duration,
    /// How long a refund may wait for an answer.
    pub answer: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self { trial: days(14), patience: days(3), answer: days(2) }
    }
}

/// All workflows of the service.
#[must_use]
pub fn workflows(terms: &Terms) -> [Workflow; 4] {
    [subscription(terms), refund(terms), usage(), alert()]
}

/// A subscription from its first day until it is clear whether the customer pays.
///
/// ```text
/// open_account ── trial ── send_invoice ── paid ── settle
///                (sleep)                 (signal)
/// ```
fn subscription(terms: &Terms) -> Workflow {
    Workflow::builder("subscription")
        .description("The trial, the invoice, and a reminder if nobody pays")
        .task(open_account)
        .wait(Wait::sleep("trial", terms.trial).after(open_account))
        .task(send_invoice)
        // The bank tells of a payment whenever it comes: also before the invoice was sent.
        .wait(
            Wait::signal("paid").after(send_invoice).timeout(terms.patience).on_timeout(OnTimeout::Continue),
        )
        .task(settle)
        .on_failure("alert")
        .build()
}

#[task]
async fn open_account(context: &mut Context) -> Result<(), TaskError> {
    let plan: String = context.try_get("plan")?;
    let price = match plan.as_str() {
        "small" => 9,
        "large" => 49,
        // Another attempt would not mend it.
        _ => return Err(TaskError::fatal(format!("there is no plan `{plan}`"))),
    };
    context.set("price", price);
    Ok(())
}

#[task(dependencies = ["trial"])]
async fn send_invoice(context: &mut Context) -> Result<(), TaskError> {
    let price: u32 = context.try_get("price")?;
    // A mail has to go out once, however often this is tried: whoever sends it knows the token.
    let token = context.task().idempotency_token();
    context.set("invoice", format!("{price} for {token}"));
    Ok(())
}

/// `paid` is what the signal brought, and `null` if three days have passed without one.
#[task(dependencies = ["paid"])]
async fn settle(context: &mut Context) -> Result<(), TaskError> {
    let price: u32 = context.try_get("price")?;
    let state = match context.get::<u32>("paid") {
        Some(paid) if paid >= price => "active",
        Some(_) => "paid too little",
        None => "reminded",
    };
    context.set("state", state);
    Ok(())
}

/// A refund, which somebody of finance has to approve.
fn refund(terms: &Terms) -> Workflow {
    let question = Ask::new("Pay it back?").choices(["yes", "no"]).role("finance");
    Workflow::builder("refund")
        .description("Money goes back if somebody of finance says so")
        .task(check_refund)
        // If nobody answers in time it fails, which starts `alert`.
        .wait(Wait::signal("approved").after(check_refund).timeout(terms.answer).ask(question))
        .task(pay_back)
        .on_failure("alert")
        .build()
}

#[task]
async fn check_refund(context: &mut Context) -> Result<(), TaskError> {
    if context.try_get::<u32>("amount")? == 0 {
        return Err(TaskError::fatal("nothing is to be paid back"));
    }
    Ok(())
}

#[task(dependencies = ["approved"])]
async fn pay_back(context: &mut Context) -> Result<(), TaskError> {
    if context.try_get::<String>("approved")? == "no" {
        context.set("refunded", 0);
        return Ok(());
    }
    if context.get::<bool>("card_expired") == Some(true) {
        return Err(TaskError::fatal("the card has expired"));
    }
    let amount: u32 = context.try_get("amount")?;
    context.set("refunded", amount);
    Ok(())
}

/// What is done when something failed for good: here, somebody is told.
fn alert() -> Workflow {
    Workflow::builder("alert").description("Tells somebody what failed").task(tell).build()
}

#[task]
async fn tell(context: &mut Context) -> Result<(), TaskError> {
    let (workflow, error): (String, String) = (context.try_get("workflow")?, context.try_get("error")?);
    context.set("told", format!("{workflow} failed: {error}"));
    Ok(())
}

/// Counts what a customer used since the run before.
fn usage() -> Workflow {
    Workflow::builder("usage")
        .description("Counts what was used since the last time")
        .task(count_usage)
        .build()
}

#[task]
async fn count_usage(context: &mut Context) -> Result<(), TaskError> {
    // Also if a night was missed: `previous..nominal` is the whole time since the last run.
    if let Some(fire) = context.schedule().cloned() {
        context.set("from", fire.previous);
        context.set("to", fire.nominal);
    }
    Ok(())
}

/// The nightly run of a customer, at four in the morning where that customer lives. No clock of any zone
/// leaves this time out.
///
/// # Errors
///
/// A zone that nobody knows.
pub fn nightly(zone: &str) -> Result<Schedule, Error> {
    Ok(Schedule::new("nightly", "usage").cron("0 4 * * *")?.zone(zone)?.on_failure("alert"))
}

/// What all customers have: a run at the end of the month, spread over an hour.
///
/// # Errors
///
/// None that the code does not have.
pub fn for_everybody() -> Result<[Schedule; 1], Error> {
    Ok([Schedule::new("month_end", "usage").cron("0 12 L * *")?.spread(Duration::from_secs(3600))])
}
