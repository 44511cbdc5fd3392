//! A connection with a transaction open on it, and what the engine writes there.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, SubmitterId};
use cloacina_core::store::{
    Closed, Flush, Flushed, Freed, MOST_CHILDREN_OF_A_TASK, NewSignal, Place, PlaceFlushed, Recorded,
    SignalSent, StoreError, StoreErrorKind, TaskChild,
};
use cloacina_postgres::guest::{self, Answer, GuestStep, Looked, Value, WrittenAs};
use jiff::Timestamp;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};
use uuid::Uuid;

use crate::error::FlushError;

/// A connection with a transaction. One that is dropped before its end, or whose beginning failed, is closed:
/// the pool would hand it on with what is left of the transaction, and the driver does not know of one whose
/// `BEGIN` succeeded and whose settings did not.
pub(crate) struct Open {
    /// `None` once the transaction has ended.
    pub(super) connection: Option<PoolConnection<Postgres>>,
    pub(super) keeps_statements: bool,
    pub(super) written_as: WrittenAs,
}

impl Open {
    pub(crate) fn driver(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("who ends the transaction has taken it")
    }

    /// Whether a statement may be prepared for the next transaction as well.
    pub(crate) fn keeps_statements(&self) -> bool {
        self.keeps_statements
    }

    pub(crate) async fn flush(
        &mut self,
        flush: &Flush,
        signals: &[(ExecutionId, NewSignal)],
    ) -> Result<(Flushed, Vec<SignalSent>), FlushError> {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut done = PlaceFlushed::default();
        let (mut sent, mut locked) = (Vec::with_capacity(signals.len()), HashMap::new());
        for GuestStep { text, values, answer } in guest::steps(flush, signals, self.written_as) {
            let statement = query(text, values, Some(now)).persistent(self.keeps_statements);
            let rows = statement.fetch_all(self.driver()).await?;
            match answer {
                Answer::Clock => now = time(rows.first())?,
                Answer::Nothing => {}
                Answer::Submitted => {
                    for row in rows {
                        done.submitted.push(ExecutionId(row.try_get("id")?));
                    }
                }
                Answer::Children => {
                    for row in rows {
                        if row.try_get::<i64, _>("started")? > MOST_CHILDREN_OF_A_TASK {
                            let parent = ExecutionId(row.try_get("execution_id")?);
                            return Err(FlushError::Store(TaskChild::too_many(parent)));
                        }
                    }
                }
                Answer::Recorded => {
                    for row in rows {
                        let (execution, task) =
                            (ExecutionId(row.try_get("execution_id")?), row.try_get("task")?);
                        if row.try_get("recorded")? {
                            done.recorded.push(Recorded { execution, task });
                        } else {
                            done.freed.push(Freed { execution, task, claimed: None });
                        }
                    }
                }
                Answer::Closed => {
                    for row in rows {
                        let status = status(row.try_get("state")?)?;
                        let execution = ExecutionId(row.try_get("id")?);
                        done.closed.push(Closed { execution, status });
                        locked.insert(execution, status);
                        done.submitters.extend(row.try_get::<Option<Uuid>, _>("submitter")?.map(SubmitterId));
                    }
                }
                Answer::Locked if !signals.is_empty() => {
                    for row in rows {
                        locked.insert(ExecutionId(row.try_get("id")?), status(row.try_get("state")?)?);
                    }
                }
                Answer::Locked => {}
                Answer::Look(at) => {
                    let Some((signal, place)) = signals.get(at).zip(flush.places.first()) else { continue };
                    let stands = locked.get(&signal.0).zip(rows.first());
                    let looked = stands.map(|(state, row)| looked(*state, row)).transpose()?;
                    let (became, steps) = guest::deliver(place.place.tenant.into(), signal, looked);
                    sent.push(became);
                    for GuestStep { text, values, .. } in steps {
                        let statement = query(text, values, Some(now)).persistent(self.keeps_statements);
                        statement.execute(self.driver()).await?;
                    }
                }
            }
        }
        Ok((Flushed { now, places: vec![done] }, sent))
    }

    pub(crate) async fn find(
        &mut self,
        place: &Place,
        workflow: &str,
        key: &str,
    ) -> Result<Option<(ExecutionId, i64)>, FlushError> {
        let (text, values) = guest::find(place.tenant.into(), workflow, key);
        let query = query(text, values, None).persistent(self.keeps_statements);
        let row = query.fetch_optional(self.driver()).await?;
        let found = row.map(|row| Ok((ExecutionId(row.try_get("id")?), row.try_get("input_hash")?)));
        Ok(found.transpose().map_err(|error: sqlx::Error| error)?)
    }

    pub(crate) async fn commit(mut self) -> sqlx::Result<()> {
        self.driver().execute("COMMIT").await?;
        // Back to the pool.
        drop(self.connection.take());
        Ok(())
    }

    pub(crate) async fn rollback(mut self, after_error: bool) {
        if after_error {
            // Its prepared statements may be of tables that have changed since.
            drop(self.driver().clear_cached_statements().await);
        }
        // What cannot be rolled back is closed, which does the same.
        if self.driver().execute("ROLLBACK").await.is_ok() {
            drop(self.connection.take());
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

fn time(row: Option<&PgRow>) -> Result<Timestamp, FlushError> {
    let row = row.ok_or(sqlx::Error::RowNotFound)?;
    let now: DateTime<Utc> = row.try_get("now")?;
    let out_of_range = |error: jiff::Error| StoreError::new(StoreErrorKind::Internal, error.to_string());
    Timestamp::from_microsecond(now.timestamp_micros())
        .map_err(|error| FlushError::Store(out_of_range(error)))
}

fn status(text: &str) -> Result<ExecutionStatus, FlushError> {
    text.parse().map_err(|error| {
        FlushError::Store(StoreError::new(
            StoreErrorKind::Version,
            format!("the state of an execution: {error}"),
        ))
    })
}

fn looked(state: ExecutionStatus, row: &PgRow) -> sqlx::Result<Looked> {
    Ok(Looked {
        state,
        repeated: row.try_get("repeated")?,
        kept: row.try_get("kept")?,
        number: row.try_get("number")?,
        node: row.try_get("task")?,
        ask: row.try_get("ask")?,
    })
}

/// `now` is what the values mean by that.
fn query<'q>(
    text: &'static str,
    values: Vec<Value<'q>>,
    now: Option<Timestamp>,
) -> Query<'q, Postgres, PgArguments> {
    values.into_iter().fold(sqlx::query(text), |query, value| match value {
        Value::Uuid(value) => query.bind(value),
        Value::Timestamp(value) => query.bind(value.and_then(bound_time)),
        Value::Now => query.bind(now.and_then(bound_time)),
        Value::Uuids(values) => query.bind(values),
        Value::OptionalUuids(values) => query.bind(values),
        Value::SmallInts(values) => query.bind(values),
        Value::Integers(values) => query.bind(values),
        Value::BigInts(values) => query.bind(values),
        Value::Booleans(values) => query.bind(values),
        Value::Timestamps(values) => {
            let times: Vec<_> = values.into_iter().map(|value| value.and_then(bound_time)).collect();
            query.bind(times)
        }
        Value::SmallInt(value) => query.bind(value),
        Value::BigInt(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::OptionalText(value) => query.bind(value),
        Value::Texts(values) => query.bind(values),
    })
}

fn bound_time(time: Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(time.as_microsecond())
}
