//! Who has work due, and how other processes learn of it.
//!
//! The bell of a tenant lies in one small table, so that one indexed query a second sees all tenants. Whoever
//! leaves ready or due rows rings; whoever finds a due bell with nothing behind it lowers it.
//!
//! *Ringing* takes the bell's row FOR KEY SHARE; *lowering* takes it FOR UPDATE SKIP LOCKED and only then, in
//! a new statement, looks for the earliest due row. Either the ringer committed before that look, and the
//! look sees its rows; or it holds the lock, and nobody lowers; or it comes later, waits for the lowering to
//! commit, and sees a bell that is set too late. Without the pair an uncommitted row is behind a lowered bell
//! for ever.
//!
//! A `NOTIFY` makes it immediate. It is sent after the commit, on another connection, at most once in two
//! milliseconds, empty: inside the writing transaction it would serialise all commits of the cluster. Nothing
//! depends on it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use cloacina_core::backoff::Backoff;
use cloacina_core::id::{ExecutionId, TenantId};
use cloacina_core::store::{Bells, Due, DueKind, NextDue, Place, Result};
use cloacina_core::streak::{Streak, Whose};
use jiff::Timestamp;
use tokio_postgres::{AsyncMessage, Row};
use uuid::Uuid;

use crate::error::Failure;
use crate::flight::{Step, Use, params};
use crate::inner::Inner;
use crate::row::column;
use crate::schema::SchemaName;
use crate::statement as sql;

/// How often hints are sent, and passed on, at most: so they take a thousand statements a second at most,
/// whatever the load.
const NOTIFY_EVERY: Duration = Duration::from_millis(2);

/// How long to wait before asking again for a connection to listen on, where there are few.
const LISTEN_AGAIN: Duration = Duration::from_secs(10);

/// The step that rings the bell of a place if rows are left in its ready table.
pub(crate) fn ring<'a>(tenant: TenantId, now: Option<Timestamp>) -> Step<'a> {
    ring_at(tenant, now, None)
}

/// As [`ring_at`], for each of these tenants, who share tables if there are several. They come in order.
pub(crate) fn ring_all<'a>(
    tenants: Vec<Uuid>,
    now: Option<Timestamp>,
    due: Vec<Option<Timestamp>>,
) -> Option<Step<'a>> {
    match (&tenants[..], &due[..]) {
        ([], _) => None,
        ([tenant], [due]) => Some(Step::Run(sql::BELL_RING, params![*tenant, now, *due])),
        _ => Some(Step::Run(sql::MANY_BELL_RING, params![tenants, now, due])),
    }
}

/// As [`ring`], if due rows were left as well, the earliest of which is due at `due`.
pub(crate) fn ring_at<'a>(tenant: TenantId, now: Option<Timestamp>, due: Option<Timestamp>) -> Step<'a> {
    Step::Run(sql::BELL_RING, params![Uuid::from(tenant), now, due])
}

/// The time at which the bell is set for what is due at once, without knowing what time it is.
pub(crate) fn at_once(now: Option<Timestamp>) -> Timestamp {
    now.unwrap_or(Timestamp::UNIX_EPOCH)
}

/// After executions may have ended: whoever is concerned is looked at now.
pub(crate) fn related<'a>(tenant: Uuid, now: Option<Timestamp>, executions: Vec<Uuid>) -> Step<'a> {
    // What each starts if it failed.
    let new: Vec<Uuid> = executions.iter().map(|_| ExecutionId::new().into()).collect();
    Step::Run(sql::RELATED_WAKE, params![tenant, now, executions, new])
}

/// The same, and the bell is rung.
pub(crate) fn wake_related<'a>(
    tenant: TenantId,
    now: Option<Timestamp>,
    executions: Vec<Uuid>,
) -> [Step<'a>; 2] {
    let tenant = Uuid::from(tenant);
    [related(tenant, now, executions), Step::Run(sql::BELL_RING, params![tenant, now, Some(at_once(now))])]
}

/// Whether there is work that another process could do now.
pub(crate) fn rang_for_others(row: &Row, place: &str) -> bool {
    if !row.get::<_, bool>("known") {
        tracing::error!(place, "the place has no bell; its work waits until somebody looks");
    }
    row.get("due")
}

pub(crate) async fn due(inner: Arc<Inner>, now: Option<Timestamp>) -> Result<Bells> {
    let mut rows = inner.in_control_for(Use::Engine, &[Step::Run(sql::BELL_DUE, params![now])]).await?;
    let mut bells = Bells::default();
    for row in rows.remove(0) {
        let read =
            (column(&row, "tenant_id", "cloacina"), column::<Option<Uuid>>(&row, "execution_id", "cloacina"));
        let (Ok(tenant), Ok(execution)) = read else { continue };
        let tenant = TenantId(tenant);
        match execution {
            None => bells.due.push(Due { tenant }),
            Some(execution) if execution.is_nil() => bells.changed.push(tenant),
            Some(execution) => bells.notices.push((tenant, ExecutionId(execution))),
        }
    }
    Ok(bells)
}

/// Several places are in the same tables; then each step is one statement for all of them.
pub(crate) async fn lower(
    inner: Arc<Inner>,
    places: Vec<Arc<Place>>,
    kinds: &'static [DueKind],
    now: Option<Timestamp>,
) -> Result<Vec<NextDue>> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let schema = SchemaName::of(first)?;
    let kinds: Vec<i16> = kinds.iter().map(|kind| kind.number()).collect();
    let tenants: Vec<Uuid> = places.iter().map(|place| place.tenant.into()).collect();
    let named = if places.len() == 1 { crate::error::named(first) } else { schema.to_string() };
    let failed = |failure: crate::error::Failure| failure.into_error(&named);
    let mut side = inner.pool.side().await?;
    places.iter().for_each(|place| side.touch(place.tenant));
    // The look is a statement after the lock, in the same flight.
    let look = match tenants[..] {
        [tenant] => {
            let look = Step::Run(sql::BELL_DUE_NEXT, params![tenant, now, kinds.clone()]);
            [Step::Run(sql::BELL_LOCK, params![tenant]), look]
        }
        _ => [
            Step::Run(sql::MANY_BELL_LOCK, params![tenants.clone()]),
            Step::Run(sql::MANY_BELL_DUE_NEXT, params![tenants.clone(), now, kinds]),
        ],
    };
    let rows = side.begin(inner.scope(first.tenant, &schema), &look).await.map_err(failed)?;
    let of = |row: &Row| -> Result<NextDue> {
        let of = |name| column(row, name, &named);
        Ok(NextDue {
            now: row.get("now"),
            work: of("work")?,
            due: of("due")?,
            unknown: of("unknown")?,
            unexpanded: row.get("unexpanded"),
        })
    };
    let next: HashMap<Uuid, NextDue> = match tenants[..] {
        [tenant] => rows[1].iter().map(|row| Ok((tenant, of(row)?))).collect::<Result<_>>()?,
        _ => rows[1].iter().map(|row| Ok((row.get("tenant_id"), of(row)?))).collect::<Result<_>>()?,
    };
    // A bell that a crash leaves early costs a look.
    let mut steps = vec![Step::Batch("SET LOCAL synchronous_commit = off".to_owned())];
    let (locked, earliest): (Vec<Uuid>, Vec<Option<Timestamp>>) = rows[0]
        .iter()
        .map(|row| {
            let tenant: Uuid = row.get("tenant_id");
            (tenant, next[&tenant].earliest())
        })
        .unzip();
    match (&locked[..], &tenants[..]) {
        ([], _) => {}
        (_, [tenant]) => steps.push(Step::Run(sql::BELL_LOWER, params![*tenant, earliest[0]])),
        _ => steps.push(Step::Run(sql::MANY_BELL_LOWER, params![locked, earliest])),
    }
    side.finish(&steps).await.map_err(failed)?;
    Ok(tenants.iter().map(|tenant| next[tenant]).collect())
}

/// Sends the hints of this process to the others, as long as the store is there.
pub(crate) async fn send_hints(inner: Weak<Inner>) {
    let streak = Streak::new(
        "send a hint to other processes",
        "they learn of work when they look at the doorbell, once a second",
    );
    loop {
        let Some(hints) = inner.upgrade().map(|inner| Arc::clone(&inner.hints)) else { return };
        let notify = hints.to_be_sent().await;
        let Some(inner) = inner.upgrade() else { return };
        let sent = async {
            let side = inner.pool.get(Use::Engine).await?;
            // Behind a pooler the process that sends it serves others too.
            side.backend.pid().into_iter().for_each(|pid| inner.remember_own(pid));
            side.alone(&notify).await.map_err(Failure::in_control)
        };
        streak.note(Whose::Database(inner.label()), &sent.await);
        drop(inner);
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

/// Hears the hints of other processes, as long as the store is there.
pub(crate) async fn hear_hints(inner: Weak<Inner>) {
    let mut pause = Backoff::new(Duration::from_millis(50), Duration::from_secs(5)).spread();
    let streak = Streak::new(
        "listen for hints of other processes",
        "their work is learned of by looking at the doorbell, once a second",
    );
    loop {
        let (Some(strong), ended) = (inner.upgrade(), Arc::new(tokio::sync::Notify::new())) else { return };
        // A pooler would give LISTEN to a session that is somebody else's a moment later.
        let Some(address) = strong.pool.address.session() else { return };
        let (to, on_end) = (Weak::clone(&inner), EndSignal(Arc::clone(&ended)));
        let hear = move |message| {
            let _held_as_long_as_the_connection = &on_end;
            if let AsyncMessage::Notification(notification) = message
                && let Some(inner) = to.upgrade()
                && !inner.is_own(notification.process_id())
            {
                inner.hints.hear(notification.channel());
            }
        };
        let Some(lent) = strong.pool.lend_to_listener() else {
            // What there is serves everybody else; bells are looked at once a second.
            drop(strong);
            tokio::time::sleep(LISTEN_AGAIN).await;
            continue;
        };
        let listening = async {
            let connection = strong.pool.dial_listening(&address, hear).await?;
            connection.alone(&strong.hints.listen()).await.map_err(Failure::in_control)?;
            Ok::<_, cloacina_core::store::StoreError>(connection)
        };
        let listening = listening.await;
        streak.note(Whose::Database(strong.label()), &listening);
        match listening {
            Ok(connection) => {
                // Something may have been missed while nobody listened.
                strong.hints.missed();
                let pool = Arc::clone(&strong.pool);
                drop(strong);
                pause.reset();
                tokio::select! {
                    () = ended.notified() => {}
                    () = pool.needs_listener() => {}
                }
                drop((connection, lent));
            }
            Err(_) => drop((strong, lent)),
        }
        tokio::time::sleep(pause.next()).await;
    }
}

/// Passes on what was heard, as long as the store is there: not more often than processes like this one send
/// it, because any login of the database can notify anybody.
pub(crate) async fn pass_hints_on(inner: Weak<Inner>) {
    loop {
        let Some(hints) = inner.upgrade().map(|inner| Arc::clone(&inner.hints)) else { return };
        hints.pass_on().await;
        drop(hints);
        tokio::time::sleep(NOTIFY_EVERY).await;
    }
}

/// Tells when the connection that holds it has ended.
struct EndSignal(Arc<tokio::sync::Notify>);

impl Drop for EndSignal {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}
