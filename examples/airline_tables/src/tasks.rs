//! Two workflows. The first loads the flights, and submits the second in the same transaction:
//!
//! ```text
//!    load_flights ──submits──►  by_month ───────┐
//!                               by_hour ────────┼── check
//!                               by_destination ─┘
//! ```
//!
//! Each of these tasks changes the airline's tables in the transaction in which it is recorded as done. So
//! the flights are there exactly if the report is to be made, and however often the program is killed, every
//! flight is counted once.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use cloacina::data::sea_orm::{
    self, ActiveValue::Set, ColumnTrait, EntityTrait, FromQueryResult, PaginatorTrait, QueryFilter,
    QuerySelect, TryGetable,
};
use cloacina::data::{TenantDb, TenantTx};
use cloacina::{Context, TaskError, Workflow, task, workflow};

use crate::model::{figure, flight};

/// How many rows are inserted by one statement.
const BATCH: usize = 250;

#[workflow]
pub(crate) fn load() -> Workflow {
    Workflow::builder("load").description("Loads the flights of an airline").task(load_flights).build()
}

#[workflow]
pub(crate) fn report() -> Workflow {
    Workflow::builder("report")
        .description("Counts the flights of an airline")
        .task(by_month)
        .task(by_hour)
        .task(by_destination)
        .task(check)
        .build()
}

/// Replaces the flights by those of the file, and has them counted.
#[task(id = "load_flights", timeout = "5m")]
async fn load_flights(context: &mut Context, tx: &TenantTx) -> Result<(), TaskError> {
    let (carrier, path) = (needed(context, "carrier")?, needed(context, "path")?);
    // Another attempt would find the same file.
    let flights = read(Path::new(&path), &carrier).map_err(TaskError::fatal)?;
    flight::Entity::delete_many().exec(tx).await?;
    for batch in flights.chunks(BATCH) {
        let rows = batch.iter().cloned().map(flight::ActiveModel::from);
        flight::Entity::insert_many(rows).exec_without_returning(tx).await?;
    }
    let report = tx.submit("report").input(Context::new().with("carrier", &carrier)).send().await?;
    context.set("report", report);
    done(&carrier, &format!("{} flights loaded", flights.len()));
    Ok(())
}

#[task(id = "by_month")]
async fn by_month(context: &mut Context, tx: &TenantTx) -> Result<(), TaskError> {
    count::<i32>(context, tx, "month", flight::Column::Month).await
}

#[task(id = "by_hour")]
async fn by_hour(context: &mut Context, tx: &TenantTx) -> Result<(), TaskError> {
    count::<i32>(context, tx, "hour", flight::Column::Hour).await
}

#[task(id = "by_destination")]
async fn by_destination(context: &mut Context, tx: &TenantTx) -> Result<(), TaskError> {
    count::<String>(context, tx, "destination", flight::Column::Dest).await
}

/// Holds what was counted three times against the flights.
#[task(id = "check", dependencies = [by_month, by_hour, by_destination])]
async fn check(_context: &mut Context, db: TenantDb) -> Result<()> {
    let (flights, figures) = db
        .read(async |tx| {
            let flights = flight::Entity::find().count(tx).await?;
            Ok((flights, figure::Entity::find().all(tx).await?))
        })
        .await?;
    for kind in ["month", "hour", "destination"] {
        let of_kind = figures.iter().filter(|figure| figure.kind == kind);
        let counted: i64 = of_kind.map(|figure| figure.flights).sum();
        ensure!(
            counted.cast_unsigned() == flights,
            "by {kind} there are {counted} flights, and {flights} in all"
        );
    }
    Ok(())
}

/// What the database counts of the flights that have the same key.
#[derive(FromQueryResult)]
struct Counted<K: TryGetable> {
    key: K,
    flights: i64,
    departed: i64,
    arrived: i64,
    delay_minutes: Option<i64>,
}

async fn count<K>(
    context: &Context,
    tx: &TenantTx,
    kind: &str,
    column: flight::Column,
) -> Result<(), TaskError>
where
    K: TryGetable + ToString + Send + Sync + 'static,
{
    let counted = flight::Entity::find()
        .select_only()
        .column_as(column, "key")
        .column_as(flight::Column::Id.count(), "flights")
        // Those that have a value.
        .column_as(flight::Column::DepTime.count(), "departed")
        .column_as(flight::Column::ArrDelay.count(), "arrived")
        .column_as(flight::Column::ArrDelay.sum(), "delay_minutes")
        .group_by(column)
        .into_model::<Counted<K>>()
        .all(tx)
        .await?;
    figure::Entity::delete_many().filter(figure::Column::Kind.eq(kind)).exec(tx).await?;
    let rows = counted.iter().map(|counted| figure::ActiveModel {
        kind: Set(kind.to_owned()),
        key: Set(counted.key.to_string()),
        flights: Set(counted.flights),
        departed: Set(counted.departed),
        arrived: Set(counted.arrived),
        delay_minutes: Set(counted.delay_minutes.unwrap_or(0)),
    });
    figure::Entity::insert_many(rows).exec_without_returning(tx).await?;
    done(&needed(context, "carrier")?, &format!("{} figures by {kind}", counted.len()));
    Ok(())
}

fn needed(context: &Context, key: &str) -> Result<String, TaskError> {
    context.get(key).ok_or_else(|| TaskError::fatal(format!("the context has no `{key}`")))
}

fn done(carrier: &str, what: &str) {
    eprintln!("{carrier}: {what}");
}

/// The flights of a `.csv` or `.csv.gz` file.
fn read(path: &Path, carrier: &str) -> Result<Vec<flight::Model>> {
    let file = File::open(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text: Box<dyn Read> = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Box::new(flate2::read::MultiGzDecoder::new(file)),
        false => Box::new(file),
    };
    let mut reader = csv::Reader::from_reader(text);
    let header = reader.headers()?.clone();
    let column = |name: &str| {
        let found = header.iter().position(|field| field == name);
        found.with_context(|| format!("{} has no column `{name}`", path.display()))
    };
    let (month, hour, dest) = (column("month")?, column("hour")?, column("dest")?);
    let (dep_time, arr_delay, airline) = (column("dep_time")?, column("arr_delay")?, column("carrier")?);
    let mut flights = Vec::new();
    for (id, row) in (2..).zip(reader.records()) {
        let row = row?;
        let wrong = || format!("line {id} of {} is no flight of {carrier}", path.display());
        ensure!(&row[airline] == carrier, wrong());
        // `NA` stands where there is no value.
        let optional = |column: usize| match &row[column] {
            "" | "NA" => Ok(None),
            text => text.parse().map(Some).with_context(wrong),
        };
        let number = |column: usize| row[column].parse().with_context(wrong);
        flights.push(flight::Model {
            id,
            month: number(month)?,
            hour: number(hour)?,
            dest: row[dest].to_owned(),
            dep_time: optional(dep_time)?,
            arr_delay: optional(arr_delay)?,
        });
    }
    ensure!(!flights.is_empty(), "{} has no flights", path.display());
    Ok(flights)
}
