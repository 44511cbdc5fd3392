//! The steps of a flush, control and rescue.

use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{
    Closed, Control, Controlled, DueKind, ExecutionFilter, ExecutionList, Freed, Idempotency, Liveness,
    Outcome, RunnerRegistration, Store, StoreErrorKind, TaskOutcome,
};

use crate::support::{Handle, at, completed, failed, new_execution, retry, workflow};

async fn states(handle: &Handle, execution: ExecutionId) -> (ExecutionStatus, Vec<TaskState>) {
    let record = handle.load(execution).await;
    (record.header.status, record.tasks.iter().map(|task| task.state).collect())
}

#[tokio::test]
async fn a_claimed_task_runs_and_closes_its_execution() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0], &[0])).await;
    let record = t.load(id).await;
    assert_eq!(record.header.status, ExecutionStatus::Running);
    assert_eq!((record.header.created_at, record.header.started_at), (at(1), Some(at(1))));
    assert_eq!((record.tasks[0].attempt, record.tasks[0].runner), (1, Some(t.runner)));
    assert_eq!(t.store.task_held(&t.place, t.runner).await.unwrap().len(), 1);

    let mut outcome = completed(id, 0, 1, &[]);
    outcome.outcome = TaskOutcome::Completed { patch: Some(r#"{"set":{"n":1}}"#.into()) };
    let flushed = t.record(2, vec![outcome]).await;
    assert_eq!(flushed.closed, [Closed { execution: id, status: ExecutionStatus::Completed }]);
    let record = t.load(id).await;
    assert_eq!(record.header.finished_at, Some(at(2)));
    assert_eq!(record.tasks[0].patch.as_deref(), Some(r#"{"set":{"n":1}}"#));
    let attempts = t.store.attempt_list(&t.place, id).await.unwrap().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, AttemptOutcome::Completed);
    assert_eq!(attempts[0].end_time, Some(at(2)));
}

#[tokio::test]
async fn the_last_dependency_frees_a_task_for_whoever_wants_it() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0, 0, 2, 2], &[0, 1])).await;
    let first = t.record(2, vec![completed(id, 0, 1, &[(2, true), (3, false)])]).await;
    assert_eq!(first.freed, []);
    let second = t.record(3, vec![completed(id, 1, 1, &[(2, true), (3, false)])]).await;
    let freed = |task, claimed| Freed { execution: id, task, claimed };
    assert_eq!(second.freed, [freed(2, Some(1)), freed(3, None)]);
    assert_eq!(second.closed, []);
    assert_eq!(t.claim(4, 10).await, [(id, 3, 1)]);
    let last = t.record(5, vec![completed(id, 2, 1, &[]), completed(id, 3, 1, &[])]).await;
    assert_eq!(last.closed.len(), 1);
}

#[tokio::test]
async fn an_outcome_of_another_attempt_changes_nothing() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0, 1], &[0])).await;
    let flushed = t.record(2, vec![completed(id, 0, 2, &[(1, true)])]).await;
    assert_eq!((flushed.recorded.len(), flushed.freed.len()), (0, 0));
    assert_eq!(
        states(&t, id).await,
        (ExecutionStatus::Running, vec![TaskState::Running, TaskState::Pending])
    );
}

#[tokio::test]
async fn a_failure_fails_the_execution_unless_it_is_handled() {
    let t = Handle::memory().await;
    for handled in [false, true] {
        let id = t.submit(1, new_execution(&[0, 0, 1], &[0, 1])).await;
        t.record(2, vec![failed(id, 1, &[(2, true)]), completed(id, 0, 1, &[])]).await;
        let handles = if handled { vec![1] } else { vec![] };
        let flushed = t.record(3, vec![Outcome { handles, ..completed(id, 2, 1, &[]) }]).await;
        let status = if handled { ExecutionStatus::Completed } else { ExecutionStatus::Failed };
        assert_eq!(flushed.closed, [Closed { execution: id, status }]);
        let record = t.load(id).await;
        assert_eq!(record.header.error.as_deref(), (!handled).then_some("t1 broke"));
        assert_eq!(record.tasks[1].handled, handled);
    }
}

#[tokio::test]
async fn a_skipped_task_has_a_reason_and_no_attempt() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0], &[0])).await;
    let outcome = TaskOutcome::Skipped { reason: SkipReason::ByRule };
    let flushed = t.record(2, vec![Outcome { outcome, ..completed(id, 0, 1, &[]) }]).await;
    assert_eq!(flushed.closed[0].status, ExecutionStatus::Completed);
    assert_eq!(t.load(id).await.tasks[0].skip_reason, Some(SkipReason::ByRule));
    assert_eq!(t.store.attempt_list(&t.place, id).await.unwrap().unwrap(), []);
}

#[tokio::test]
async fn a_retry_is_due_later_and_keeps_its_attempt() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0], &[0])).await;
    t.record(2, vec![retry(id, 0, 1, Duration::from_secs(10))]).await;
    assert_eq!(t.claim(11, 1).await, []);
    let next = t.lower(Some(at(11))).await;
    assert_eq!((next.now, next.work, next.due), (at(11), Some(at(12)), None));
    assert!(t.store.bell_due(Some(at(11))).await.unwrap().due.is_empty());
    assert_eq!(t.store.bell_due(Some(at(12))).await.unwrap().due.len(), 1);
    let flushed = t.flush(12, vec![], vec![], 1).await.unwrap();
    assert_eq!((flushed.claimed[0].attempt, flushed.claimed[0].failures), (2, 1));
    let released = Outcome { outcome: TaskOutcome::Released, ..completed(id, 0, 2, &[]) };
    t.record(13, vec![released]).await;
    let record = t.load(id).await;
    assert_eq!((record.tasks[0].failures, record.tasks[0].error.as_deref()), (1, Some("too slow")));
    t.claim(14, 1).await;
    let attempts = t.store.attempt_list(&t.place, id).await.unwrap().unwrap();
    let outcomes: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.outcome)).collect();
    assert_eq!(
        outcomes,
        [(1, AttemptOutcome::TimedOut), (2, AttemptOutcome::Released), (3, AttemptOutcome::Running)]
    );
    assert_eq!(attempts[0].error_message.as_deref(), Some("too slow"));
    assert_eq!(attempts[1].error_message, None);
}

#[tokio::test]
async fn claims_go_by_priority_and_due_time_and_take_what_the_process_knows() {
    let t = Handle::memory().await;
    let mut ids = Vec::new();
    for (now, priority) in [(1, 0), (2, 5), (3, 9), (4, 5)] {
        let mut new = new_execution(&[0], &[]);
        new.priority = priority;
        ids.push(t.submit(now, new).await);
    }
    let mut unknown = new_execution(&[0], &[]);
    unknown.workflow.name = "other".into();
    unknown.priority = 9;
    t.submit(1, unknown).await;
    let mut later = new_execution(&[0], &[]);
    later.start_at = Some(at(100));
    let later = t.submit(1, later).await;
    let claimed = t.claim(10, 3).await;
    assert_eq!(claimed, [(ids[2], 0, 1), (ids[1], 0, 1), (ids[3], 0, 1)]);
    assert_eq!(t.claim(10, 3).await, [(ids[0], 0, 1)]);
    assert_eq!(t.claim(100, 3).await, [(later, 0, 1)]);
    assert_eq!(t.load(later).await.header.started_at, Some(at(100)));
}

#[tokio::test]
async fn an_idempotency_key_is_recorded_once() {
    let t = Handle::memory().await;
    let with_key = || {
        let mut new = new_execution(&[0], &[0]);
        new.idempotency = Some(Idempotency { key: "k".into(), input_hash: -3 });
        new
    };
    let first = t.submit(1, with_key()).await;
    let flushed = t.flush(2, vec![with_key()], vec![], 0).await.unwrap();
    assert_eq!(flushed.submitted, []);
    assert_eq!(t.store.execution_find(&t.place, "etl", "k").await.unwrap(), Some((first, -3)));
    assert_eq!(t.store.execution_find(&t.place, "other", "k").await.unwrap(), None);
    let mut repeat = with_key();
    repeat.id = first;
    assert_eq!(t.flush(3, vec![repeat], vec![], 0).await.unwrap().submitted, [first]);
    assert_eq!(t.load(first).await.tasks.len(), 1);
}

#[tokio::test]
async fn a_paused_execution_has_nothing_to_claim_until_it_is_resumed() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0, 0, 1], &[0])).await;
    let control = |control| t.store.execution_control(&t.place, id, control, None, Some(at(2)));
    assert_eq!(control(Control::Pause).await.unwrap(), Controlled::Done(ExecutionStatus::Paused));
    assert_eq!(control(Control::Pause).await.unwrap(), Controlled::Refused(ExecutionStatus::Paused));
    let notices = t.store.bell_due(Some(at(3))).await.unwrap().notices;
    assert_eq!(notices, [(t.place.tenant, id)]);
    let flushed = t.record(3, vec![completed(id, 0, 1, &[(2, true)])]).await;
    assert_eq!(flushed.freed, [Freed { execution: id, task: 2, claimed: None }]);
    assert_eq!(t.claim(4, 10).await, []);
    assert_eq!(control(Control::Resume).await.unwrap(), Controlled::Done(ExecutionStatus::Running));
    let mut claimed = t.claim(5, 10).await;
    claimed.sort();
    assert_eq!(claimed, [(id, 1, 1), (id, 2, 1)]);
    assert_eq!(control(Control::Pause).await.unwrap(), Controlled::Done(ExecutionStatus::Paused));
    let flushed = t.record(6, vec![completed(id, 1, 1, &[]), completed(id, 2, 1, &[])]).await;
    assert_eq!((flushed.recorded.len(), flushed.closed.len()), (2, 0));
    assert_eq!(control(Control::Resume).await.unwrap(), Controlled::Done(ExecutionStatus::Completed));
    assert_eq!(control(Control::Resume).await.unwrap(), Controlled::Refused(ExecutionStatus::Completed));
    let nobody = t.store.execution_control(&t.place, ExecutionId::new(), Control::Pause, None, None).await;
    assert_eq!(nobody.unwrap(), Controlled::NotFound);
}

#[tokio::test]
async fn a_cancelled_execution_takes_no_outcomes() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0, 0, 1], &[0])).await;
    let cancel = Control::Cancel { reason: "changed my mind".into() };
    let done = t.store.execution_control(&t.place, id, cancel, None, Some(at(2))).await.unwrap();
    assert_eq!(done, Controlled::Done(ExecutionStatus::Cancelled));
    assert_eq!(states(&t, id).await, (ExecutionStatus::Cancelled, vec![TaskState::Cancelled; 3]));
    assert_eq!(t.record(3, vec![completed(id, 0, 1, &[(2, true)])]).await.recorded, []);
    assert_eq!(t.claim(4, 10).await, []);
    let attempts = t.store.attempt_list(&t.place, id).await.unwrap().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0].outcome, AttemptOutcome::Cancelled);
    assert_eq!(t.load(id).await.header.error.as_deref(), Some("changed my mind"));
}

#[tokio::test]
async fn a_deadline_cancels_what_is_not_over() {
    let t = Handle::memory().await;
    let with_deadline = |claimed: &[i16]| {
        let mut new = new_execution(&[0], claimed);
        new.deadline = Some(at(10));
        new
    };
    let late = t.submit(1, with_deadline(&[])).await;
    let done = t.submit(1, with_deadline(&[0])).await;
    t.record(2, vec![completed(done, 0, 1, &[])]).await;
    assert_eq!(t.lower(Some(at(2))).await.due, Some(at(10)));
    t.store.execution_control(&t.place, late, Control::Pause, None, Some(at(3))).await.unwrap();
    assert_eq!(t.store.due_settle(&t.place, DueKind::ALL, Some(at(9))).await.unwrap().expired, []);
    assert_eq!(t.store.bell_due(Some(at(10))).await.unwrap().due.len(), 1);
    assert_eq!(t.store.due_settle(&t.place, DueKind::ALL, Some(at(10))).await.unwrap().expired, [late]);
    assert_eq!(t.load(late).await.header.status, ExecutionStatus::Cancelled);
    let next = t.lower(Some(at(11))).await;
    assert_eq!((next.work, next.due), (None, None));
}

#[tokio::test]
async fn the_work_of_a_dead_runner_is_returned() {
    let t = Handle::memory().await;
    let id = t.submit(1, new_execution(&[0, 0], &[0])).await;
    let paused = t.submit(1, new_execution(&[0], &[0])).await;
    t.store.execution_control(&t.place, paused, Control::Pause, None, None).await.unwrap();
    let workflows = std::sync::Arc::from([workflow()]);
    let beat = |runner| t.store.runner_heartbeat(runner, &workflows, None);
    assert_eq!(beat(t.runner).await.unwrap(), Liveness::Live);
    assert!(!t.store.runner_condemn(t.runner, 0).await.unwrap());
    assert!(t.store.runner_rescue(t.runner, Some(at(2))).await.unwrap().is_empty());
    assert!(t.store.runner_condemn(t.runner, 1).await.unwrap());
    assert_eq!(beat(t.runner).await.unwrap(), Liveness::Dead);
    let error = t.flush(2, vec![new_execution(&[0], &[])], vec![], 0).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Fenced);

    let rescued = t.store.runner_rescue(t.runner, Some(at(3))).await.unwrap();
    let mut executions = rescued[0].executions.clone();
    executions.sort();
    assert_eq!(executions, [id, paused]);
    assert!(t.store.runner_list().await.unwrap().is_empty());
    assert!(t.store.runner_rescue(t.runner, Some(at(3))).await.unwrap().is_empty());

    let other = Handle::new(t.store.clone()).await;
    let flushed = other.flush(4, vec![], vec![], 10).await.unwrap();
    let mut claimed: Vec<_> =
        flushed.claimed.iter().map(|claimed| (claimed.task, claimed.attempt, claimed.lost)).collect();
    claimed.sort();
    assert_eq!(claimed, [(0, 2, 1), (1, 1, 0)]);
    let attempts = other.store.attempt_list(&other.place, id).await.unwrap().unwrap();
    assert_eq!(attempts[0].outcome, AttemptOutcome::Lost);
    assert_eq!(attempts[0].runner_id, t.runner.0);

    other.store.runner_retire(other.runner).await.unwrap();
    assert_eq!(other.store.runner_list().await.unwrap()[0].liveness, Liveness::Dead);
}

#[tokio::test]
async fn a_runner_is_listed_as_it_was_registered() {
    let t = Handle::memory().await;
    t.store.runner_retire(t.runner).await.unwrap();
    let process = cloacina_core::lease::ProcessIdentity { host: "h".into(), pid: 42, started: 77 };
    let registration = RunnerRegistration {
        id: t.runner,
        lease: Duration::from_secs(30),
        process: Some(process.clone()),
        host_name: Some("web-3".to_owned()),
        workflows: std::sync::Arc::new([workflow()]),
    };
    t.store.runner_register(&registration, None).await.unwrap();
    let listed = t.store.runner_list().await.unwrap().remove(0);
    assert_eq!((listed.id, listed.liveness, listed.beat), (t.runner, Liveness::Live, 0));
    assert_eq!((listed.lease, listed.process), (Duration::from_secs(30), Some(process)));
    assert_eq!(listed.workflows, [workflow()]);
}

#[tokio::test]
async fn listing_pages_and_pruning_take_what_they_are_asked_for() {
    let t = Handle::memory().await;
    let mut ids = Vec::new();
    for now in 1..=6 {
        ids.push(t.submit(now, new_execution(&[0], &[0])).await);
    }
    for (now, &id) in (10..).zip(&ids[..4]) {
        t.record(now, vec![completed(id, 0, 1, &[])]).await;
    }
    let list = async |filter, before, limit| {
        let list = ExecutionList { filter, before, limit };
        let headers = t.store.execution_list(&t.place, &list).await.unwrap();
        headers.iter().map(|header| header.id).collect::<Vec<_>>()
    };
    assert_eq!(list(ExecutionFilter::all(), None, 2).await, [ids[5], ids[4]]);
    assert_eq!(list(ExecutionFilter::all(), Some(ids[1]), 2).await, [ids[0]]);
    let running = ExecutionFilter::all().status(ExecutionStatus::Running);
    assert_eq!(list(running.clone(), None, 9).await, [ids[5], ids[4]]);
    let ended = ExecutionFilter::all().status(ExecutionStatus::Completed).status(ExecutionStatus::Failed);
    assert_eq!(list(ended.workflow("etl"), Some(ids[2]), 9).await, [ids[1], ids[0]]);
    assert_eq!(list(running.workflow("other"), None, 9).await, []);

    assert_eq!(
        t.store
            .execution_prune(&t.place, ExecutionStatus::Completed, Duration::ZERO, 2, Some(at(13)))
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        t.store
            .execution_prune(&t.place, ExecutionStatus::Completed, Duration::ZERO, 9, Some(at(13)))
            .await
            .unwrap(),
        1
    );
    assert_eq!(t.store.execution_headers(&t.place, &ids).await.unwrap().len(), 3);
    assert_eq!(t.store.attempt_list(&t.place, ids[0]).await.unwrap(), None);
}
