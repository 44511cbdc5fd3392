//! What the service does by itself: every night it finds the invoices that are new, and for each of them it
//! charges the customer's account once, waits three days for the payment, and sends a reminder.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use std::time::Duration;

use cloacina::data::sea_orm::sea_query::{ColumnDef, Expr, Table};
use cloacina::data::sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder};
use cloacina::data::{Data, DataError, Migration, TenantTx};
use cloacina::{
    Context, Error, OnTimeout, Overlap, Runner, Schedule, SignalReceipt, TaskError, TaskInfo, Uuid, Wait,
    Workflow, task,
};
use serde::Deserialize;

pub mod invoice {
    //! What a customer is to pay.
    #![allow(missing_docs)]
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "invoice")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i32,
        pub cents: i64,
        /// `new`, `billed`, `paid` or `reminded`.
        pub state: String,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub mod ledger {
    //! What the customer was charged, and by which execution.
    #![allow(missing_docs)]
    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "ledger")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub invoice: i32,
        pub cents: i64,
        pub execution: Uuid,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// The tables of a customer.
///
/// # Errors
///
/// None that the code does not have.
pub fn data() -> Result<Data, DataError> {
    let number = |name: &'static str| ColumnDef::new(name).big_integer().not_null().to_owned();
    let invoices = Table::create()
        .table("invoice")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(number("cents"))
        .col(ColumnDef::new("state").string().not_null())
        .to_owned();
    let ledger = Table::create()
        .table("ledger")
        .col(ColumnDef::new("id").uuid().not_null().primary_key())
        .col(ColumnDef::new("invoice").integer().not_null())
        .col(number("cents"))
        .col(ColumnDef::new("execution").uuid().not_null())
        .to_owned();
    Data::builder()
        .tenant(invoice::Entity)
        .tenant(ledger::Entity)
        .migration(Migration::new(1, "invoices and ledger").create(invoices).create(ledger))
        .build()
}

/// Both workflows, for a runner or a tenant manager.
#[must_use]
pub fn workflows() -> [Workflow; 2] {
    let three_days = Duration::from_secs(3 * 24 * 3600);
    let month = Workflow::builder("billing")
        .task(find)
        .wait(Wait::map("bill", "invoice").after(find).over("invoices").parallel(100).tolerate("10%"))
        .build();
    let invoice = Workflow::builder("invoice")
        .task(validate)
        .task(charge)
        .wait(Wait::signal("paid").after(charge).timeout(three_days).on_timeout(OnTimeout::Continue))
        .task(settle)
        .build();
    [month, invoice]
}

/// The nightly run, at two in the customer's zone. The one before may still wait for payments.
///
/// # Errors
///
/// A zone that nobody knows.
pub fn nightly(zone: &str) -> Result<Schedule, Error> {
    Ok(Schedule::new("nightly", "billing").cron("0 2 * * *")?.zone(zone)?.overlap(Overlap::Allow))
}

/// Lists the invoices that are new. That they are taken is part of the commit that records this task.
#[task]
async fn find(context: &mut Context, tx: &TenantTx) -> Result<(), TaskError> {
    let new = invoice::Entity::find().filter(invoice::Column::State.eq("new"));
    let numbers: Vec<i32> =
        new.order_by_asc(invoice::Column::Id).all(tx).await?.into_iter().map(|invoice| invoice.id).collect();
    set_state(tx, &numbers, "billed").await?;
    context.set("invoices", numbers);
    Ok(())
}

/// What an execution of `invoice` is about: an item of the list.
#[derive(Deserialize)]
struct About {
    item: i32,
}

#[task]
async fn validate(about: About, tx: &TenantTx) -> Result<i64, TaskError> {
    let invoice = invoice::Entity::find_by_id(about.item).one(tx).await?.ok_or("the invoice is gone")?;
    if invoice.cents <= 0 {
        return Err(TaskError::fatal(format!("invoice {} is about {} cents", invoice.id, invoice.cents)));
    }
    Ok(invoice.cents)
}

/// What is to be charged, after `validate`.
#[derive(Deserialize)]
struct Valid {
    item: i32,
    validate: i64,
}

/// Exactly once: the row and the record of this task are one commit.
#[task(dependencies = [validate], retry(attempts = 8))]
async fn charge(valid: Valid, tx: &TenantTx, task: &TaskInfo) -> Result<(), TaskError> {
    let entry = ledger::ActiveModel {
        id: Set(task.idempotency_token()),
        invoice: Set(valid.item),
        cents: Set(valid.validate),
        execution: Set(task.execution_id()),
    };
    ledger::Entity::insert(entry).exec(tx).await?;
    Ok(())
}

/// `paid` is null if three days have passed without a payment.
#[derive(Deserialize)]
struct Settled {
    item: i32,
    paid: Option<i64>,
}

#[task(dependencies = ["paid"])]
async fn settle(settled: Settled, tx: &TenantTx) -> Result<String, TaskError> {
    let state = if settled.paid.is_some() { "paid" } else { "reminded" };
    set_state(tx, &[settled.item], state).await?;
    Ok(state.to_owned())
}

async fn set_state(tx: &TenantTx, invoices: &[i32], state: &str) -> Result<(), TaskError> {
    let update = invoice::Entity::update_many().col_expr(invoice::Column::State, Expr::value(state));
    update.filter(invoice::Column::Id.is_in(invoices.iter().copied())).exec(tx).await?;
    Ok(())
}

/// Records a new invoice.
///
/// # Errors
///
/// An invoice of this number is there.
pub async fn add(customer: &Runner, id: i32, cents: i64) -> Result<(), DataError> {
    let new = invoice::ActiveModel { id: Set(id), cents: Set(cents), state: Set("new".to_owned()) };
    customer.data()?.run(async |tx| Ok(invoice::Entity::insert(new.clone()).exec(tx).await.map(drop)?)).await
}

/// What the bank tells: an invoice was paid. The bank's key lets it say so twice.
///
/// # Errors
///
/// The invoice was never charged, or the database cannot be used.
pub async fn paid(customer: &Runner, id: i32, cents: i64, key: &str) -> Result<SignalReceipt, TaskError> {
    let db = customer.data()?;
    let charged = ledger::Entity::find().filter(ledger::Column::Invoice.eq(id));
    let entry = db.read(async |tx| Ok(charged.clone().one(tx).await?)).await?;
    let execution: Uuid = entry.ok_or("no such invoice was charged")?.execution;
    Ok(customer.execution(execution).signal("paid", cents).key(key).send().await?)
}
