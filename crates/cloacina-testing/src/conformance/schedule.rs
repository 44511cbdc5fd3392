//! Schedules: what is decided about them is written as it was decided, once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use cloacina_core::execution::ExecutionStatus;
use cloacina_core::id::{ExecutionId, ScheduleId};
use cloacina_core::store::{
    Budget, Decide, DueKind, FireOutcome, NewFire, Payload, ScheduleChange, ScheduleRecord, ScheduleRow,
    ScheduleSelection, ScheduleState, ScheduledExecution, SchedulesSettled,
};
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, WORKFLOW, World, at, completed, key};

/// A schedule that is due at this time.
fn row(name: &str, due_at: Option<Timestamp>) -> ScheduleRow {
    ScheduleRow {
        id: ScheduleId::new(),
        name: name.to_owned(),
        origin: None,
        state: ScheduleState::Active,
        reason: None,
        version: 1,
        spec: r#"{"workflow": "w"}"#.into(),
        progress: "{}".into(),
        cursor: at(0),
        due_at,
        last_execution: None,
        backfilling: Vec::new(),
    }
}

fn change(row: ScheduleRow) -> ScheduleChange {
    ScheduleChange {
        audit: None,
        id: row.id,
        was_due_at: None,
        row: Some(row),
        cancels: Vec::new(),
        starts: Vec::new(),
        fires: Vec::new(),
        prunes: false,
    }
}

fn start(schedule: ScheduleId, key: &str) -> ScheduledExecution {
    ScheduledExecution {
        on_failure: None,
        id: ExecutionId::new(),
        schedule,
        workflow: WORKFLOW.to_owned(),
        priority: 7,
        input: r#"{"n":1}"#.into(),
        key: format!("cloacina/schedule/{key}"),
    }
}

fn fire(nominal: Timestamp, outcome: FireOutcome, execution: Option<ExecutionId>) -> NewFire {
    NewFire { nominal, outcome, execution, missed: 3 }
}

/// What a decision was told.
fn of(found: &Mutex<Vec<ScheduleRecord>>) -> MutexGuard<'_, Vec<ScheduleRecord>> {
    found.lock().expect("nothing panics while it is held")
}

/// Decides always the same, and tells what was found.
fn decide(changes: Vec<ScheduleChange>) -> (Decide, Arc<Mutex<Vec<ScheduleRecord>>>) {
    let found = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&found);
    let decide = move |records, _, _: &mut Budget| {
        *of(&told) = records;
        changes.clone()
    };
    (Arc::new(decide), found)
}

/// Fires each schedule that is due: one execution under the key of its version, and due again at `next`.
fn firing(next: Option<Timestamp>) -> Decide {
    Arc::new(move |records, now, _| {
        let fired = records.into_iter().map(|record| {
            let starts = vec![start(record.row.id, &format!("{}/{}", record.row.id, record.row.version))];
            let row = ScheduleRow {
                version: record.row.version + 1,
                cursor: now,
                due_at: next,
                last_execution: Some(starts[0].id),
                ..record.row.clone()
            };
            let fires = vec![fire(now, FireOutcome::Started, row.last_execution)];
            ScheduleChange { was_due_at: record.row.due_at, starts, fires, ..change(row) }
        });
        fired.collect()
    })
}

async fn put(process: &Process, rows: Vec<ScheduleRow>) {
    let (decide, _) = decide(rows.into_iter().map(change).collect());
    process.change_schedules(ScheduleSelection::Named(Vec::new()), decide, at(0)).await;
}

async fn only(process: &Process) -> ScheduleRecord {
    let mut records = process.list_schedules(ScheduleSelection::All).await;
    assert_eq!(records.len(), 1);
    records.remove(0)
}

pub async fn a_schedule_is_written_listed_changed_and_deleted(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (mut b, a) = (row("b", Some(at(60))), row("a", None));
    let c = ScheduleRow { origin: Some("code".to_owned()), ..row("c", Some(at(90))) };
    put(&world, vec![b.clone(), a.clone(), c.clone()]).await;
    let names = async |selection| -> Vec<String> {
        let records = world.list_schedules(selection).await;
        records.into_iter().map(|record| record.row.name).collect()
    };
    assert_eq!(names(ScheduleSelection::All).await, ["a", "b", "c"]);
    assert_eq!(names(ScheduleSelection::Named(vec!["b".to_owned(), "x".to_owned()])).await, ["b"]);
    let applied = ScheduleSelection::Applied { origin: "code".to_owned(), names: vec!["a".to_owned()] };
    assert_eq!(names(applied).await, ["a", "c"]);
    assert!(world.is_rung(at(60)).await, "nobody else would look");
    assert_eq!(world.lower(at(1)).await.due, Some(at(60)));

    b = ScheduleRow {
        state: ScheduleState::Paused,
        reason: Some("an incident".to_owned()),
        version: 2,
        spec: r#"{"workflow": "other"}"#.into(),
        progress: r#"{"failures": 1}"#.into(),
        cursor: at(50),
        due_at: None,
        last_execution: Some(ExecutionId::new()),
        ..b
    };
    let (decide_b, found) = decide(vec![ScheduleChange { was_due_at: Some(at(60)), ..change(b.clone()) }]);
    world.change_schedules(ScheduleSelection::Named(vec!["b".to_owned()]), decide_b, at(2)).await;
    assert_eq!(of(&found).iter().map(|record| record.row.version).collect::<Vec<_>>(), [1]);
    let records = world.list_schedules(ScheduleSelection::Named(vec!["b".to_owned()])).await;
    assert_eq!((&records[0].row, records[0].last_status), (&b, None));
    assert_eq!(world.lower(at(2)).await.due, Some(at(90)), "its due row is gone");

    let gone = ScheduleChange { row: None, was_due_at: Some(at(90)), ..change(c.clone()) };
    let (delete, _) = decide(vec![gone]);
    world.change_schedules(ScheduleSelection::Named(vec!["c".to_owned()]), delete, at(3)).await;
    assert_eq!(names(ScheduleSelection::All).await, ["a", "b"]);
    assert_eq!(world.lower(at(3)).await.due, None);
}

pub async fn a_schedule_that_is_due_starts_what_was_decided(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    assert_eq!(world.settle_schedules(10, firing(None), at(59)).await, SchedulesSettled::default());
    let settled = world.settle_schedules(10, firing(Some(at(120))), at(60)).await;
    assert_eq!((settled.taken, settled.started), (1, 1));
    let found = only(&world).await;
    let execution = found.row.last_execution.expect("it has started one");
    assert_eq!((found.row.version, found.row.cursor, found.row.due_at), (2, at(60), Some(at(120))));
    assert_eq!(found.last_status, Some(ExecutionStatus::Pending));
    let next = world.lower(at(60)).await;
    assert_eq!((next.work, next.due, next.unexpanded), (Some(at(60)), Some(at(120)), true));
    assert_eq!(world.settle_schedules(10, firing(None), at(119)).await, SchedulesSettled::default(), "once");
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(61)).await, 1);
    let claimed = runner.claim(10, at(61)).await;
    assert_eq!((claimed[0].execution, claimed[0].priority), (execution, 7));
    let input: Payload = r#"{"n":1}"#.into();
    assert_eq!(claimed[0].fresh.as_ref().map(|fresh| fresh.input.clone()), Some(input));
    let fires = world.fires_of(found.row.id, at(0), at(1_000), 10).await;
    assert_eq!((fires[0].nominal, fires[0].outcome), (at(60), FireOutcome::Started));
    assert_eq!((fires[0].execution, fires[0].missed, fires[0].fired_at), (Some(execution), 3, at(60)));
    assert_eq!(fires[0].status, Some(ExecutionStatus::Running));
}

pub async fn a_key_starts_one_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    let known = only(&world).await.row;
    let again = |due| {
        let starts = vec![start(known.id, "the same")];
        let fires = vec![fire(at(60), FireOutcome::Started, Some(starts[0].id))];
        let row = ScheduleRow { due_at: due, ..known.clone() };
        decide(vec![ScheduleChange { starts, fires, ..change(row) }]).0
    };
    assert_eq!(world.settle_schedules(10, again(Some(at(61))), at(60)).await.started, 1);
    let first = world.fires_of(known.id, at(0), at(1_000), 10).await.remove(0);
    assert_eq!(world.settle_schedules(10, again(None), at(61)).await.started, 0);
    let fires = world.fires_of(known.id, at(0), at(1_000), 10).await;
    assert_eq!(
        (fires.len(), fires[0].outcome),
        (1, FireOutcome::Repeated),
        "it takes the place of the other"
    );
    assert_eq!(fires[0].execution, first.execution);
    assert_eq!(world.count(10).await, 1);
}

pub async fn what_meets_its_key_is_over(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    let known = only(&world).await.row;
    // Two that are started, one of them twice, and one that nobody knows.
    let starts = ["a", "b", "a"].map(|key| start(known.id, key));
    let [a, b, again] = [0, 1, 2].map(|nth: usize| starts[nth].id);
    let backfilling = vec![a, b, again, ExecutionId::new()];
    let row = ScheduleRow { due_at: None, last_execution: Some(again), backfilling, ..known.clone() };
    let (decide_all, _) = decide(vec![ScheduleChange { starts: starts.to_vec(), ..change(row) }]);
    assert_eq!(world.settle_schedules(10, decide_all, at(60)).await.started, 2);
    assert!(world.is_rung(at(60)).await, "nobody else would tell the schedule of its end");
    let (leave, found) = decide(Vec::new());
    assert_eq!(world.settle_schedules(10, leave, at(60)).await.taken, 1);
    let told = of(&found).remove(0);
    assert_eq!((told.row.backfilling, told.last_status, told.ended), (vec![a, b], None, Vec::new()));
    world.cancel(b, at(61)).await;
    assert_eq!(only(&world).await.row.backfilling, [a]);
}

pub async fn the_end_of_an_execution_brings_its_schedule(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let mut ends = Vec::new();
    for n in 0..3 {
        put(&world, vec![row(&n.to_string(), Some(at(60)))]).await;
    }
    assert_eq!(world.settle_schedules(10, firing(None), at(60)).await.started, 3);
    for record in world.list_schedules(ScheduleSelection::All).await {
        ends.push((record.row.id, record.row.last_execution.expect("it has started one")));
    }
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(61)).await, 3);
    runner.claim(10, at(61)).await;
    assert_eq!(world.lower(at(62)).await.due, None);
    // One completes, one is cancelled, and one that is paused is closed by its resume.
    runner.report(completed(ends[0].1, 0), at(70)).await;
    assert!(world.is_rung(at(70)).await, "somebody has to look");
    world.cancel(ends[1].1, at(71)).await;
    world.pause(ends[2].1, at(72)).await;
    runner.report(completed(ends[2].1, 0), at(73)).await;
    let (leave, found) = decide(Vec::new());
    assert_eq!(world.settle_schedules(10, leave, at(74)).await.taken, 2);
    let told: HashSet<_> = of(&found).iter().flat_map(|record| record.ended.clone()).collect();
    let expected = [(ends[0].1, ExecutionStatus::Completed), (ends[1].1, ExecutionStatus::Cancelled)];
    assert_eq!(told, HashSet::from(expected));
    world.resume(ends[2].1, at(75)).await;
    assert!(world.is_rung(at(75)).await);
    let (leave, found) = decide(Vec::new());
    assert_eq!(world.settle_schedules(10, leave, at(75)).await.taken, 1);
    {
        let found = of(&found);
        assert_eq!(found[0].ended, [(ends[2].1, ExecutionStatus::Completed)]);
        assert_eq!((found[0].row.id, found[0].last_status), (ends[2].0, Some(ExecutionStatus::Completed)));
    }
    assert_eq!(world.lower(at(76)).await.earliest(), None, "each end is told once");
}

pub async fn an_execution_that_is_replaced_is_cancelled(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    world.settle_schedules(10, firing(Some(at(120))), at(60)).await;
    let first = only(&world).await.row.last_execution.expect("it has started one");
    world.expand(&key(WORKFLOW, 1), &[0], 10, at(61)).await;
    runner.claim(10, at(61)).await;
    let known = only(&world).await.row;
    let starts = vec![start(known.id, "next")];
    let row = ScheduleRow { last_execution: Some(starts[0].id), due_at: None, ..known };
    let (replace, _) = decide(vec![ScheduleChange { starts, cancels: vec![first], ..change(row) }]);
    let settled = world.settle_schedules(10, replace, at(120)).await;
    assert_eq!((settled.started, &settled.cancelled[..]), (1, &[first][..]));
    assert_eq!(world.header(first).await.status, ExecutionStatus::Cancelled);
    assert!(world.is_noticed(first, at(121)).await, "whoever runs it has to know");
    assert_eq!(world.count(10).await, 1);
}

pub async fn several_processes_take_each_schedule_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let others = [world.process().await, world.process().await, world.process().await];
    put(&world, (0..40).map(|n| row(&format!("{n:02}"), Some(at(60)))).collect()).await;
    let fired = others.map(|process| {
        tokio::spawn(async move {
            let mut started = 0;
            for _ in 0..40 {
                started += process.settle_schedules(7, firing(Some(at(1_000))), at(60)).await.started;
            }
            started
        })
    });
    let mut started = 0;
    for fired in fired {
        started += fired.await.expect("it does not panic");
    }
    assert_eq!(started, 40);
    let records = world.list_schedules(ScheduleSelection::All).await;
    assert!(records.iter().all(|record| record.row.version == 2), "each was decided about once");
    assert_eq!(world.count(100).await, 40);
}

pub async fn a_change_waits_for_one_that_is_under_way(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    put(&world, vec![row("s", None)]).await;
    let count: Decide = Arc::new(|records, _, _| {
        let counted = records
            .into_iter()
            .map(|record| change(ScheduleRow { version: record.row.version + 1, ..record.row }));
        counted.collect()
    });
    let mut changing = Vec::new();
    for _ in 0..4 {
        let (process, count) = (world.process().await, Arc::clone(&count));
        changing.push(tokio::spawn(async move {
            for _ in 0..10 {
                let named = ScheduleSelection::Named(vec!["s".to_owned()]);
                process.change_schedules(named, Arc::clone(&count), at(1)).await;
            }
        }));
    }
    for changing in changing {
        changing.await.expect("it does not panic");
    }
    assert_eq!(only(&world).await.row.version, 41, "no change is lost");
}

pub async fn what_came_of_a_time_is_kept_and_the_newest_thousand_at_least(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    let known = only(&world).await.row;
    let write = async |times: std::ops::Range<i64>, prunes| {
        let fires = times.map(|second| fire(at(second), FireOutcome::Skipped, None)).collect();
        let (decide, _) = decide(vec![ScheduleChange { fires, prunes, ..change(known.clone()) }]);
        world.change_schedules(ScheduleSelection::All, decide, at(5_000)).await;
    };
    write(0..600, false).await;
    write(600..1_200, true).await;
    let fires = world.fires_of(known.id, at(0), at(10_000), 2_000).await;
    assert_eq!(fires.len(), 1_000);
    assert_eq!((fires[0].nominal, fires[999].nominal), (at(1_199), at(200)));
    let page = world.fires_of(known.id, at(300), at(400), 10).await;
    assert_eq!((page.len(), page[0].nominal, page[9].nominal), (10, at(399), at(390)));
    let (delete, _) = decide(vec![ScheduleChange { row: None, ..change(known.clone()) }]);
    world.change_schedules(ScheduleSelection::All, delete, at(5_001)).await;
    assert_eq!(world.fires_of(known.id, at(0), at(10_000), 2_000).await, []);
}

pub async fn a_due_row_of_no_schedule_is_taken_away(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    put(&world, vec![row("s", Some(at(60)))]).await;
    let known = only(&world).await.row;
    // Its due row stays behind.
    let (delete, _) = decide(vec![ScheduleChange { row: None, ..change(known) }]);
    world.change_schedules(ScheduleSelection::All, delete, at(1)).await;
    let settled = world.settle_schedules(10, firing(None), at(60)).await;
    assert_eq!((settled.taken, settled.started), (1, 0));
    assert_eq!(world.lower(at(60)).await.earliest(), None);
    assert_eq!(world.settle(DueKind::ALL, at(61)).await.taken, 0);
}
