//! What is read back.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, TaskState};
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{
    BULK, Control, ExecutionFilter, ExecutionList, Idempotency, MOST_EXECUTION_BYTES, NewExecution, NewTask,
    Outcome, Payload, StoreErrorKind, TaskOutcome,
};

use super::Fixture;
use super::process::{
    Process, WORKFLOW, World, at, claimed_draft, completed, draft, failed, key, outcome, released, retried,
};

/// Documents that a database which understands JSON would change.
fn hard_documents() -> Vec<Payload> {
    let deep = format!(r#"{{"deep":{}1{}}}"#, "[".repeat(100), "]".repeat(100));
    let wide = format!(r#"{{"text":"{}"}}"#, "ß".repeat(100_000));
    let documents: [&str; 8] = [
        r#"{"numbers":[1e16,1.0,-0.0,0.1,18446744073709551615,-9223372036854775808,1e-7,5e-324,1.7976931348623157e308]}"#,
        r#"{"z":1,"a":2,"m":{"z":1,"a":2}}"#,
        r#"{"text":"Grüße, 世界 \u{1F980} \\ \" ' ; -- \t \n \u001f /"}"#,
        r#"{"":null,"set":{"removed":["a"]},"tenant_id":"x"}"#,
        r#"{ "spaced" : [ true , false ] }"#,
        "{}",
        &deep,
        &wide,
    ];
    documents.map(|document| document.replace("\\u{1F980}", "\u{1F980}").into()).into()
}

pub async fn contexts_are_kept_byte_for_byte(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for document in hard_documents() {
        let new = NewExecution { input: document.clone(), ..claimed_draft(2) };
        let id = runner.submit(new, at(0)).await;
        let patched = TaskOutcome::Completed { patch: Some(document.clone()) };
        runner.batch(at(1)).outcome(outcome(id, 0, patched)).outcome(completed(id, 1)).write().await;
        let record = world.load(id).await;
        assert_eq!(record.input, document);
        assert_eq!(record.tasks[0].patch.as_ref(), Some(&document));
        assert_eq!(record.tasks[1].patch, None, "nothing changed is not an empty change");
    }
}

pub async fn an_execution_is_told_as_it_is(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let new = NewExecution { deadline: Some(at(9_000)), claimed: vec![0], ..draft(&[0, 1]) };
    let id = runner.submit(new, at(0)).await;
    runner.report(retried(id, 0, "again", Duration::ZERO), at(1)).await;
    runner.claim(1, at(2)).await;
    let end = outcome(id, 0, TaskOutcome::Completed { patch: Some(r#"{"set":{"a":1}}"#.into()) });
    runner.report(Outcome { attempt: 2, successors: vec![(1, true)], ..end }, at(3)).await;
    let record = world.process().await.load(id).await;
    let header = &record.header;
    assert_eq!((header.id, &header.workflow), (id, &key(WORKFLOW, 1)));
    assert_eq!((header.created_at, header.started_at), (at(0), Some(at(0))));
    assert_eq!((header.finished_at, header.deadline), (None, Some(at(9_000))));
    let [first, second] = &record.tasks[..] else { panic!("two tasks") };
    assert_eq!((first.attempt, first.failures, first.runner), (2, 1, Some(runner.id)));
    assert_eq!((first.started_at, first.finished_at), (Some(at(2)), Some(at(3))));
    assert_eq!(first.patch.as_deref(), Some(r#"{"set":{"a":1}}"#));
    assert_eq!((second.attempt, second.failures, second.runner), (1, 0, Some(runner.id)));
    assert_eq!((second.started_at, second.finished_at), (Some(at(3)), None));
}

pub async fn executions_that_are_not_there_are_left_out(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let one = world.submit(draft(&[0]), at(0)).await;
    let two = world.submit(draft(&[0, 1]), at(0)).await;
    let ids = [ExecutionId::new(), two, ExecutionId::new(), one];
    let loaded: HashSet<_> = world.load_all(&ids).await.iter().map(|record| record.header.id).collect();
    assert_eq!(loaded, HashSet::from([one, two]));
    let headers: HashSet<_> = world.headers(&ids).await.iter().map(|header| header.id).collect();
    assert_eq!(headers, HashSet::from([one, two]));
    assert_eq!(world.load_all(&[]).await.len(), 0);
    assert_eq!(world.headers(&[]).await.len(), 0);
}

pub async fn more_context_than_an_execution_may_have_is_not_read(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let document = |bytes: usize| -> Payload { format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes)).into() };
    let (half, rest) = (document(MOST_EXECUTION_BYTES / 2), document(MOST_EXECUTION_BYTES / 6));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let new = NewExecution { input: half.clone(), ..claimed_draft(3) };
        let id = runner.submit(new, at(0)).await;
        let patches =
            (0..2).map(|task| outcome(id, task, TaskOutcome::Completed { patch: Some(rest.clone()) }));
        runner.batch(at(1)).outcomes(patches).write().await;
        ids.push(id);
    }
    // Each is below the limit, and all of them are too much at once.
    for id in &ids {
        assert_eq!(world.load(*id).await.tasks[1].patch.as_ref(), Some(&rest));
    }
    assert_eq!(world.load_refused(&ids).await, StoreErrorKind::Data);
    let patch = TaskOutcome::Completed { patch: Some(rest.clone()) };
    runner.report(outcome(ids[0], 2, patch), at(2)).await;
    assert_eq!(world.load_refused(&ids[..1]).await, StoreErrorKind::Data);
    let large = runner
        .submit(NewExecution { input: document(MOST_EXECUTION_BYTES), ..claimed_draft(1) }, at(3))
        .await;
    assert_eq!(world.load_refused(&[large]).await, StoreErrorKind::Data);
    assert_eq!(world.headers(&ids).await.len(), 3);
}

pub async fn many_tasks_are_read_in_their_order(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let tasks = [0; 9_000];
    let ids = [world.submit(draft(&tasks), at(0)).await, world.submit(draft(&tasks), at(0)).await];
    let records = world.load_all(&ids).await;
    let read: HashSet<_> = records.iter().map(|record| (record.header.id, record.tasks.len())).collect();
    assert_eq!(read, ids.iter().map(|id| (*id, tasks.len())).collect());
    for record in records {
        for (number, task) in record.tasks.iter().enumerate() {
            assert_eq!(task.name, format!("t{number}"));
        }
    }
}

pub async fn a_listing_is_newest_first_and_pages_without_gap_or_repeat(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let drafts: Vec<_> = (0..25).map(|_| Arc::new(draft(&[0]))).collect();
    let mut expected: Vec<_> = drafts.iter().map(|new| new.id).collect();
    world.batch(at(0)).submits(drafts).write().await;
    expected.sort_unstable();
    expected.reverse();
    let page = |before, limit| world.list(ExecutionList { filter: ExecutionFilter::all(), before, limit });
    assert_eq!(page(None, 100).await, expected);
    let mut seen = Vec::new();
    loop {
        let ids = page(seen.last().copied(), 10).await;
        if ids.is_empty() {
            break;
        }
        seen.extend(ids);
        // What is newer than the first page does not move the later ones.
        world.submit(draft(&[0]), at(1)).await;
    }
    assert_eq!(seen, expected);
}

pub async fn a_listing_is_filtered_by_what_is_set(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let pending = world.submit(draft(&[0]), at(0)).await;
    let running = runner.submit(claimed_draft(1), at(0)).await;
    let done = runner.submit(claimed_draft(1), at(0)).await;
    let bad = runner.submit(NewExecution { workflow: key("billing", 1), ..claimed_draft(1) }, at(0)).await;
    runner.batch(at(1)).outcome(completed(done, 0)).outcome(failed(bad, 0, "no")).write().await;
    let list = |filter| world.list(ExecutionList { filter, before: None, limit: 10 });
    assert_eq!(list(ExecutionFilter::all()).await, [bad, done, running, pending]);
    assert_eq!(list(ExecutionFilter::all().status(ExecutionStatus::Pending)).await, [pending]);
    let ended = ExecutionFilter::all().status(ExecutionStatus::Completed).status(ExecutionStatus::Failed);
    assert_eq!(list(ended.clone()).await, [bad, done]);
    assert_eq!(list(ended.clone().workflow("billing")).await, [bad]);
    assert_eq!(list(ExecutionFilter::all().workflow(WORKFLOW)).await, [done, running, pending]);
    assert_eq!(list(ExecutionFilter::all().workflow("bill%")).await, []);
    let before = ExecutionList { filter: ended, before: Some(bad), limit: 10 };
    assert_eq!(world.list(before).await, [done]);
}

pub async fn executions_of_the_engines_own_workflows_are_listed_and_counted_if_that_is_asked_for(
    fixture: &impl Fixture,
) {
    let world = World::new(fixture).await;
    let own = || NewExecution { workflow: key(BULK, 1), tags: vec!["t".to_owned()], ..draft(&[0]) };
    let user = world.submit(NewExecution { tags: vec!["t".to_owned()], ..draft(&[0]) }, at(0)).await;
    let engines = world.submit(own(), at(0)).await;
    let list = |filter| world.list(ExecutionList { filter, before: None, limit: 10 });
    let pending = || ExecutionFilter::all().status(ExecutionStatus::Pending);
    for filter in [
        ExecutionFilter::all(),
        pending(),
        pending().superseded(false),
        ExecutionFilter::all().tag("t"),
        pending().tag("t"),
    ] {
        assert_eq!(list(filter.clone()).await, [user], "{filter:?}");
        assert_eq!(list(filter.clone().of_engine()).await, [engines, user], "{filter:?}");
        assert_eq!(list(filter.workflow(BULK)).await, [engines]);
    }
    // A page is full although some were passed over.
    let later = world.submit(draft(&[0]), at(1)).await;
    for _ in 0..5 {
        world.submit(own(), at(1)).await;
    }
    let page = ExecutionList { filter: ExecutionFilter::all(), before: None, limit: 2 };
    assert_eq!(world.list(page).await, [later, user]);
    let place = Arc::clone(&world.place);
    let figures = world.call(|store| async move { store.place_figures(&place, Some(at(2))).await }).await;
    assert_eq!((figures.executions, figures.open, figures.waiting), (2, 2, 0));
}

pub async fn attempts_are_told_in_order(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (runner, other) = (world.runner().await, world.runner().await);
    let id = runner.submit(NewExecution { claimed: vec![0, 1], ..draft(&[0, 0, 2]) }, at(0)).await;
    runner.report(retried(id, 1, "busy", Duration::ZERO), at(1)).await;
    other.claim(1, at(2)).await;
    other.report(Outcome { attempt: 2, ..released(id, 1) }, at(3)).await;
    runner.claim(1, at(4)).await;
    runner.report(completed(id, 0), at(5)).await;
    let attempts = world.attempts(id).await.expect("the execution is there");
    let rows: Vec<_> = attempts
        .iter()
        .map(|row| {
            (row.task_id.as_str(), row.attempt, row.runner_id, row.outcome, row.start_time, row.end_time)
        })
        .collect();
    let (first, second) = (runner.id.into(), other.id.into());
    assert_eq!(
        rows,
        [
            ("t0", 1, first, AttemptOutcome::Completed, at(0), Some(at(5))),
            ("t1", 1, first, AttemptOutcome::Failed, at(0), Some(at(1))),
            ("t1", 2, second, AttemptOutcome::Released, at(2), Some(at(3))),
            ("t1", 3, first, AttemptOutcome::Running, at(4), None),
        ]
    );
    let errors: Vec<_> = attempts.iter().map(|row| row.error_message.as_deref()).collect();
    assert_eq!(errors, [None, Some("busy"), None, None]);
}

pub async fn attempts_of_nothing_are_told_apart_from_no_attempts(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(draft(&[0]), at(0)).await;
    assert_eq!(world.attempts(id).await, Some(vec![]));
    assert_eq!(world.attempts(ExecutionId::new()).await, None);
}

pub async fn prune_removes_what_ended_long_ago(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let idempotency = Some(Idempotency { key: "order-1".to_owned(), input_hash: 1 });
    let old = runner.submit(NewExecution { idempotency, ..claimed_draft(2) }, at(0)).await;
    let recent = runner.submit(claimed_draft(1), at(0)).await;
    let running = runner.submit(claimed_draft(1), at(0)).await;
    let pending = world.submit(draft(&[0]), at(0)).await;
    let cancelled = world.submit(draft(&[0]), at(0)).await;
    runner.batch(at(10)).outcomes((0..2).map(|task| completed(old, task))).write().await;
    world.cancel(cancelled, at(10)).await;
    runner.report(completed(recent, 0), at(20)).await;
    assert_eq!(world.prune(at(10), 100).await, 0, "what ended at that time did not end before it");
    assert_eq!(world.prune(at(20), 100).await, 2);
    let everything = ExecutionList { filter: ExecutionFilter::all(), before: None, limit: 10 };
    assert_eq!(world.list(everything).await, [pending, running, recent]);
    assert_eq!(world.load_all(&[old, cancelled]).await.len(), 0);
    assert_eq!(world.attempts(old).await, None);
    assert_eq!(world.find(WORKFLOW, "order-1").await, None, "the key is free again");
    let idempotency = Some(Idempotency { key: "order-1".to_owned(), input_hash: 2 });
    world.submit(NewExecution { idempotency, ..draft(&[0]) }, at(30)).await;
    // The same id again would meet tasks and attempts that were left behind.
    world.submit(NewExecution { id: old, ..draft(&[0, 1]) }, at(30)).await;
    assert_eq!(world.load(old).await.tasks.len(), 2);
    assert_eq!(world.attempts(old).await, Some(vec![]));
}

pub async fn prune_keeps_to_its_limit(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let drafts: Vec<_> = (0..10).map(|_| Arc::new(claimed_draft(3))).collect();
    let ids: Vec<_> = drafts.iter().map(|new| new.id).collect();
    runner.batch(at(0)).submits(drafts).write().await;
    let ends = ids.iter().flat_map(|id| (0..3).map(|task| completed(*id, task)));
    runner.batch(at(1)).outcomes(ends).write().await;
    for pruned in [4, 4, 2, 0] {
        assert_eq!(world.prune(at(2), 4).await, pruned);
    }
    assert_eq!(world.load_all(&ids).await.len(), 0);
}

pub async fn texts_are_kept_as_they_are(fixture: &impl Fixture) {
    const NAME: &str = "o'reilly \"%_\\\" ; -- „ü“ $1 ?1 :a {b} \u{1F980}";
    let world = World::new(fixture).await;
    let idempotency = Some(Idempotency { key: NAME.to_owned(), input_hash: i64::MIN });
    let tasks = [NewTask { name: NAME.to_owned(), is_wait: false, waiting_on: 0 }].into();
    let new = NewExecution { workflow: key(NAME, i64::MAX), idempotency, tasks, ..draft(&[]) };
    let id = world.submit(new, at(0)).await;
    assert_eq!(world.find(NAME, NAME).await, Some((id, i64::MIN)));
    let filter = ExecutionFilter::all().workflow(NAME);
    assert_eq!(world.list(ExecutionList { filter, before: None, limit: 10 }).await, [id]);
    let runner = world.runner_for(&[key(NAME, i64::MAX)]).await;
    assert_eq!(runner.claim(10, at(1)).await[0].workflow, key(NAME, i64::MAX));
    runner.report(retried(id, 0, NAME, Duration::ZERO), at(2)).await;
    world.control(id, Control::Cancel { reason: NAME.to_owned() }, at(3)).await;
    let record = world.load(id).await;
    assert_eq!((record.tasks[0].name.as_str(), record.tasks[0].error.as_deref()), (NAME, Some(NAME)));
    assert_eq!(record.header.error.as_deref(), Some(NAME));
    let attempt = &world.attempts(id).await.expect("the execution is there")[0];
    assert_eq!((attempt.task_id.as_str(), attempt.error_message.as_deref()), (NAME, Some(NAME)));
}

pub async fn times_are_kept_to_the_microsecond(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let micros = |count: u64| at(0) + Duration::from_micros(count);
    let (start_at, deadline) = (Some(micros(1_000_001)), Some(micros(2_000_003)));
    let id = world.submit(NewExecution { start_at, deadline, ..draft(&[0]) }, micros(1)).await;
    assert_eq!(runner.claim(1, micros(1_000_000)).await, []);
    assert_eq!(runner.claim(1, micros(1_000_001)).await.len(), 1);
    assert_eq!(world.expire(micros(2_000_002)).await, []);
    runner.report(retried(id, 0, "again", Duration::from_micros(7)), micros(1_000_009)).await;
    let next = world.lower(micros(1_000_010)).await;
    assert_eq!((next.work, next.due), (Some(micros(1_000_016)), deadline));
    runner.claim(1, micros(1_000_016)).await;
    runner.report(Outcome { attempt: 2, ..completed(id, 0) }, micros(1_000_017)).await;
    let header = world.header(id).await;
    assert_eq!((header.created_at, header.started_at), (micros(1), start_at));
    assert_eq!((header.finished_at, header.deadline), (Some(micros(1_000_017)), deadline));
}

pub async fn what_was_written_is_there_after_a_restart(fixture: &impl Fixture) {
    let database = fixture.create().await;
    let process = Process::open(fixture, &database).await;
    let (place, runner) = (Arc::clone(&process.place), process.runner().await);
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let runner_id = runner.id;
    drop((process, runner));
    let process = Process::open(fixture, &database).await;
    assert_eq!(process.place, place);
    assert_eq!(process.states(id).await, [TaskState::Running, TaskState::Pending]);
    let record = process.runner_record(runner_id).await.expect("its process did not retire it");
    assert!(process.condemn(runner_id, record.beat).await);
    process.rescue(runner_id, at(1)).await;
    assert!(process.is_rung(at(1)).await);
    assert_eq!(process.runner().await.claim(10, at(1)).await[0].attempt, 2);
}

pub async fn executions_that_are_not_over_are_counted_up_to_a_limit(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    assert_eq!(world.count(10).await, 0);
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(world.submit(draft(&[0]), at(0)).await);
    }
    let runner = world.runner().await;
    runner.submit(claimed_draft(1), at(0)).await;
    // Whatever keeps them from being over.
    world.pause(ids[0], at(1)).await;
    assert_eq!(world.count(10).await, 6);
    assert_eq!(world.count(6).await, 6);
    assert_eq!(world.count(4).await, 4);
    assert_eq!(world.count(usize::MAX).await, 6);
    world.cancel(ids[0], at(1)).await;
    world.cancel(ids[1], at(1)).await;
    assert_eq!(world.count(10).await, 4);
}
