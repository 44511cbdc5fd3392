//! Cancel, pause and resume.

use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, TaskState};
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{Control, Controlled, NewExecution, ORPHANED, Outcome, WorkflowKey};
use cloacina_core::workflow::Fingerprint;

use super::Fixture;
use super::process::{World, at, claimed_draft, completed, draft, failed, released, retried};

pub async fn pause_takes_the_ready_rows_and_resume_puts_them_back(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 0, 2]) }, at(0)).await;
    assert_eq!(world.pause(id, at(1)).await, Controlled::Done(ExecutionStatus::Paused));
    assert_eq!(world.header(id).await.status, ExecutionStatus::Paused);
    assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Ready, TaskState::Pending]);
    assert_eq!(runner.claim(10, at(2)).await, []);
    assert_eq!(world.lower(at(2)).await.work, None);
    assert!(!world.is_rung(at(2)).await);
    assert_eq!(world.resume(id, at(3)).await, Controlled::Done(ExecutionStatus::Running));
    assert!(world.is_rung(at(3)).await);
    assert_eq!(runner.claim(10, at(3)).await.len(), 1);
    assert_eq!(world.header(id).await.finished_at, None);
}

pub async fn a_pending_execution_is_pending_again_after_a_pause(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(draft(&[0]), at(0)).await;
    assert_eq!(world.pause(id, at(1)).await, Controlled::Done(ExecutionStatus::Paused));
    assert_eq!(world.resume(id, at(2)).await, Controlled::Done(ExecutionStatus::Pending));
    assert_eq!(world.header(id).await.started_at, None);
}

pub async fn a_pause_does_not_bring_a_start_time_forward(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(NewExecution { start_at: Some(at(1_000)), ..draft(&[0]) }, at(0)).await;
    world.pause(id, at(1)).await;
    world.resume(id, at(2)).await;
    assert_eq!(runner.claim(10, at(999)).await, []);
    assert_eq!(runner.claim(10, at(1_000)).await.len(), 1);
}

pub async fn a_task_that_ends_in_a_paused_execution_frees_without_ready_rows(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1, 1]) }, at(0)).await;
    world.pause(id, at(1)).await;
    let end = Outcome { successors: vec![(1, true), (2, false)], ..completed(id, 0) };
    let flushed = runner.batch(at(2)).outcome(end).claim(10).write().await;
    assert_eq!((flushed.recorded.len(), flushed.claimed.len()), (1, 0));
    assert!(flushed.freed.iter().all(|freed| freed.claimed.is_none()), "a paused execution is not claimed");
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready, TaskState::Ready]);
    assert_eq!(world.lower(at(2)).await.work, None);
    world.resume(id, at(3)).await;
    assert_eq!(runner.claim(10, at(3)).await.len(), 2);
}

pub async fn a_task_given_back_in_a_paused_execution_waits_for_the_resume(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(2), at(0)).await;
    world.pause(id, at(1)).await;
    let retry = retried(id, 0, "no", Duration::from_millis(500));
    let flushed = runner.batch(at(2)).outcome(retry).outcome(released(id, 1)).claim(10).write().await;
    assert_eq!((flushed.recorded.len(), flushed.claimed.len()), (2, 0));
    assert_eq!(runner.claim(10, at(2_000)).await, []);
    world.resume(id, at(2_000)).await;
    assert_eq!(runner.claim(10, at(2_000)).await.len(), 2);
}

pub async fn a_paused_execution_is_closed_by_its_resume(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    for (end, status) in [(true, ExecutionStatus::Completed), (false, ExecutionStatus::Failed)] {
        let id = runner.submit(claimed_draft(1), at(0)).await;
        world.pause(id, at(1)).await;
        let outcome = if end { completed(id, 0) } else { failed(id, 0, "no") };
        let flushed = runner.report(outcome, at(2)).await;
        assert_eq!((flushed.recorded.len(), flushed.closed.len()), (1, 0), "paused is not closed");
        assert_eq!(world.header(id).await.status, ExecutionStatus::Paused);
        assert_eq!(world.resume(id, at(3)).await, Controlled::Done(status));
        let header = world.header(id).await;
        assert_eq!((header.status, header.finished_at), (status, Some(at(3))));
        assert_eq!(header.error.is_some(), status == ExecutionStatus::Failed);
    }
}

pub async fn cancel_ends_an_execution_from_every_state(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let pending = world.submit(draft(&[0, 1]), at(0)).await;
    let running = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 0, 2]) }, at(0)).await;
    let paused = world.submit(draft(&[0]), at(0)).await;
    world.pause(paused, at(0)).await;
    for id in [pending, running, paused] {
        assert_eq!(world.cancel(id, at(1)).await, Controlled::Done(ExecutionStatus::Cancelled));
        let record = world.load(id).await;
        assert_eq!(record.header.status, ExecutionStatus::Cancelled);
        assert_eq!(record.header.finished_at, Some(at(1)));
        assert_eq!(record.header.error.as_deref(), Some("not wanted"));
        for task in &record.tasks {
            assert_eq!((task.state, task.finished_at), (TaskState::Cancelled, Some(at(1))));
        }
    }
    assert_eq!(runner.claim(10, at(2)).await, []);
    assert_eq!(world.lower(at(2)).await.work, None);
    assert_eq!(world.held(runner.id).await, []);
    assert_eq!(world.endings(running).await, [AttemptOutcome::Cancelled]);
}

pub async fn cancel_leaves_what_is_over(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(claimed_draft(2), at(0)).await;
    runner.report(completed(id, 0), at(1)).await;
    world.cancel(id, at(2)).await;
    let record = world.load(id).await;
    assert_eq!((record.tasks[0].state, record.tasks[0].finished_at), (TaskState::Completed, Some(at(1))));
    assert_eq!(record.tasks[1].state, TaskState::Cancelled);
}

pub async fn a_terminal_execution_stays_as_it_is(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let (done, bad, gone) = (claimed_draft(1), claimed_draft(1), claimed_draft(1));
    let ids = [done.id, bad.id, gone.id];
    runner.batch(at(0)).submit(done).submit(bad).submit(gone).write().await;
    runner.batch(at(1)).outcome(completed(ids[0], 0)).outcome(failed(ids[1], 0, "no")).write().await;
    world.cancel(ids[2], at(1)).await;
    let statuses = [ExecutionStatus::Completed, ExecutionStatus::Failed, ExecutionStatus::Cancelled];
    for (id, status) in ids.into_iter().zip(statuses) {
        let again = Control::Cancel { reason: "again".to_owned() };
        for control in [again, Control::Pause, Control::Resume] {
            assert_eq!(world.control(id, control, at(2)).await, Controlled::Refused(status));
        }
        let header = world.header(id).await;
        assert_eq!((header.status, header.finished_at), (status, Some(at(1))));
        assert_ne!(header.error.as_deref(), Some("again"));
    }
}

pub async fn what_cannot_be_done_is_refused(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(draft(&[0]), at(0)).await;
    assert_eq!(world.resume(id, at(1)).await, Controlled::Refused(ExecutionStatus::Pending));
    world.pause(id, at(2)).await;
    assert_eq!(world.pause(id, at(3)).await, Controlled::Refused(ExecutionStatus::Paused));
    for control in [Control::Cancel { reason: String::new() }, Control::Pause, Control::Resume] {
        assert_eq!(world.control(ExecutionId::new(), control, at(4)).await, Controlled::NotFound);
    }
}

pub async fn an_outcome_after_a_cancel_is_news(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    world.cancel(id, at(1)).await;
    let ends = [completed(id, 0), failed(id, 0, "no"), released(id, 0), retried(id, 0, "no", Duration::ZERO)];
    for end in ends {
        let end = Outcome { successors: vec![(1, true)], ..end };
        let flushed = runner.batch(at(2)).outcome(end).claim(5).write().await;
        assert_eq!((flushed.recorded, flushed.freed), (vec![], vec![]));
        assert_eq!((flushed.closed, flushed.claimed), (vec![], vec![]));
    }
    let record = world.load(id).await;
    assert_eq!(record.header.status, ExecutionStatus::Cancelled);
    assert!(record.tasks.iter().all(|task| task.state == TaskState::Cancelled && task.patch.is_none()));
}

pub async fn cancel_and_pause_leave_a_notice(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let other = world.process().await;
    let cancelled = world.submit(draft(&[0]), at(0)).await;
    let paused = world.submit(draft(&[0]), at(0)).await;
    let left_alone = world.submit(draft(&[0]), at(0)).await;
    world.cancel(cancelled, at(1)).await;
    world.pause(paused, at(1)).await;
    assert!(other.is_noticed(cancelled, at(2)).await);
    assert!(other.is_noticed(paused, at(2)).await);
    assert!(!other.is_noticed(left_alone, at(2)).await);
    assert!(other.is_noticed(cancelled, at(2)).await, "a notice is there for every process, more than once");
}

pub async fn a_notice_does_not_stay_for_ever(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let other = world.process().await;
    let cancelled = world.submit(draft(&[0]), at(0)).await;
    world.cancel(cancelled, at(1)).await;
    assert!(other.is_noticed(cancelled, at(2)).await);
    let later = world.submit(draft(&[0]), at(3_600_000)).await;
    world.cancel(later, at(3_600_000)).await;
    assert!(!other.is_noticed(cancelled, at(3_600_000)).await);
}

/// Cancels race with the flushes that end the same executions: each execution ends once.
pub async fn a_cancel_and_a_last_outcome_do_not_both_win(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let canceller = world.process().await;
    for _ in 0..20 {
        let id = runner.submit(claimed_draft(1), at(0)).await;
        let (reporter, canceller) = (runner.clone(), canceller.clone());
        let report = tokio::spawn(async move { reporter.report(completed(id, 0), at(1)).await });
        let cancel = tokio::spawn(async move { canceller.cancel(id, at(1)).await });
        let closed = report.await.expect("the report is written").closed.len() == 1;
        let cancelled = cancel.await.expect("the cancel is answered");
        let status = world.header(id).await.status;
        match cancelled {
            Controlled::Done(_) => assert_eq!((closed, status), (false, ExecutionStatus::Cancelled)),
            refused => {
                assert_eq!(refused, Controlled::Refused(ExecutionStatus::Completed));
                assert_eq!((closed, status), (true, ExecutionStatus::Completed));
            }
        }
    }
}

/// A pause races with the flush that frees a successor: whoever is first, a paused execution has no ready
/// row, and the resume puts one there.
pub async fn a_pause_and_a_freed_task_leave_no_ready_row(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let pauser = world.process().await;
    for _ in 0..20 {
        let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
        let (reporter, pauser) = (runner.clone(), pauser.clone());
        let end = Outcome { successors: vec![(1, false)], ..completed(id, 0) };
        let report = tokio::spawn(async move { reporter.report(end, at(1)).await });
        let pause = tokio::spawn(async move { pauser.pause(id, at(1)).await });
        assert_eq!(report.await.expect("the report is written").recorded.len(), 1);
        let paused = pause.await.expect("the pause is answered");
        assert_eq!(paused, Controlled::Done(ExecutionStatus::Paused));
        assert_eq!(runner.claim(10, at(2)).await, []);
        assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready]);
        assert_eq!(world.resume(id, at(3)).await, Controlled::Done(ExecutionStatus::Running));
        assert_eq!(runner.claim(10, at(3)).await.len(), 1);
        assert_eq!(runner.report(completed(id, 1), at(4)).await.closed.len(), 1);
    }
}

pub async fn an_orphan_is_paused_with_its_reason_until_it_is_resumed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let (orphan, paused) = (draft(&[0]), draft(&[0]));
    let key = orphan.workflow.clone();
    let orphan = world.submit(orphan, at(0)).await;
    let paused = world.submit(paused, at(0)).await;
    world.pause(paused, at(1)).await;
    assert_eq!(
        world.control(orphan, Control::Orphan, at(1)).await,
        Controlled::Done(ExecutionStatus::Paused)
    );
    assert_eq!(world.header(orphan).await.error.as_deref(), Some(ORPHANED));
    assert_eq!(world.header(paused).await.error, None);
    let other = WorkflowKey { fingerprint: Fingerprint(key.fingerprint.0 + 1), ..key.clone() };
    assert_eq!(world.orphaned(&[other]).await, [], "nobody has this version");
    let orphaned = world.orphaned(std::slice::from_ref(&key)).await;
    assert_eq!(orphaned, [(orphan, key.clone())], "one that a caller paused is no orphan");
    assert!(world.repair(at(2)).await.is_empty());
    assert_eq!(runner.claim(10, at(2)).await, []);
    assert_eq!(world.resume(orphan, at(3)).await, Controlled::Done(ExecutionStatus::Pending));
    assert_eq!(world.header(orphan).await.error, None);
    assert_eq!(world.orphaned(&[key]).await, []);
    assert_eq!(runner.claim(10, at(3)).await.len(), 1);
}

pub async fn work_that_nobody_claims_for_long_is_overdue(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = NewExecution { deadline: Some(at(1_000)), ..draft(&[0, 0]) };
    let key = new.workflow.clone();
    let id = world.submit(new, at(10)).await;
    world.submit(NewExecution { start_at: Some(at(500)), ..draft(&[0]) }, at(10)).await;
    let grace = Duration::from_millis(60);
    assert_eq!(world.overdue(&[], grace, at(69)).await, []);
    let overdue = world.overdue(&[], grace, at(70)).await;
    assert_eq!(overdue, [(id, key.clone())], "each execution once, and not for its deadline");
    assert_eq!(world.overdue(&[key], grace, at(70)).await, [], "somebody has its code");
    assert!(world.repair(at(70)).await.is_empty());
}
