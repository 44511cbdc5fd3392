//! Executions that take the place of others, what they take over, and tags.

use std::sync::Arc;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::ExecutionId;
use cloacina_core::store::{
    CopiedTask, ExecutionFilter, ExecutionList, Idempotency, NewExecution, NewSignal, NewTask, Rerun,
    RerunRefusal, SignalSent, SignalTarget, TaskOutcome, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;

use super::Fixture;
use super::process::{
    Process, Runner, WORKFLOW, World, at, claimed_draft, completed, draft, failed, key, outcome,
};

/// A rerun of an execution of three tasks in a row, of which the first is copied.
fn rerun(of: ExecutionId) -> NewExecution {
    let copied = CopiedTask {
        task: 0,
        skipped: None,
        started_at: Some(at(1)),
        finished_at: at(2),
        patch: Some(r#"{"set":{"a":1}}"#.into()),
    };
    NewExecution {
        rerun: Some(Box::new(Rerun { audit: None, of, copied: vec![copied] })),
        child: None,
        ..draft(&[0, 0, 1])
    }
}

/// An execution that failed in the second of three tasks.
async fn failed_one(runner: &Runner) -> ExecutionId {
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1, 1]) }, at(0)).await;
    let patch = Some(r#"{"set":{"a":1}}"#.into());
    let mut first = outcome(id, 0, TaskOutcome::Completed { patch });
    first.successors = vec![(1, true)];
    runner.report(first, at(2)).await;
    let mut second = failed(id, 1, "broken");
    second.successors = vec![(2, true)];
    runner.report(second, at(3)).await;
    let skips = TaskOutcome::Skipped { reason: SkipReason::UpstreamFailed };
    runner.report(outcome(id, 2, skips), at(4)).await;
    id
}

async fn tags_of(process: &Process, tag: &str) -> Vec<ExecutionId> {
    let filter = ExecutionFilter::all().tag(tag);
    process.list(ExecutionList { filter, before: None, limit: 10 }).await
}

pub async fn a_rerun_has_what_was_copied_and_runs_the_rest(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    assert_eq!(world.header(old).await.status, ExecutionStatus::Failed);
    world.lower(at(4)).await;
    let new = rerun(old);
    let id = new.id;
    let recorded = world.record(vec![new], at(5)).await;
    assert_eq!((recorded.now, recorded.submitted, recorded.refused), (at(5), vec![id], vec![]));
    assert!(world.is_rung(at(5)).await);
    assert_eq!(world.header(old).await.superseded_by, Some(id));
    let record = world.load(id).await;
    assert_eq!((record.header.rerun_of, record.header.superseded_by), (Some(old), None));
    assert_eq!(record.header.status, ExecutionStatus::Pending);
    let copied = &record.tasks[0];
    assert_eq!((copied.state, copied.attempt, copied.runner), (TaskState::Completed, 0, None));
    assert_eq!((copied.started_at, copied.finished_at), (Some(at(1)), Some(at(2))));
    assert_eq!(copied.patch.as_deref(), Some(r#"{"set":{"a":1}}"#));
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready, TaskState::Pending]);
    let claimed = runner.claim(10, at(6)).await;
    assert_eq!(
        claimed.iter().map(|claimed| (claimed.execution, claimed.task)).collect::<Vec<_>>(),
        [(id, 1)]
    );
    let mut end = completed(id, 1);
    end.successors = vec![(2, true)];
    runner.report(end, at(7)).await;
    runner.report(completed(id, 2), at(8)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
    assert_eq!(world.endings(id).await, [AttemptOutcome::Completed; 2], "it did not try what was copied");
    assert_eq!(world.header(old).await.status, ExecutionStatus::Failed, "the old one stays as it is");
}

pub async fn a_task_that_its_rule_skipped_is_copied_as_skipped(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    let skipped = Some(SkipReason::ByRule);
    let copied = CopiedTask { task: 1, skipped, started_at: None, finished_at: at(2), patch: None };
    let rerun = Some(Box::new(Rerun { audit: None, of: old, copied: vec![copied] }));
    let new = NewExecution { rerun, ..draft(&[0, 0]) };
    let id = new.id;
    world.record(vec![new], at(5)).await;
    let record = world.load(id).await;
    assert_eq!((record.tasks[1].state, record.tasks[1].skip_reason), (TaskState::Skipped, skipped));
    assert_eq!(runner.claim(10, at(6)).await.len(), 1);
    runner.report(completed(id, 0), at(7)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
    assert_eq!(world.attempts(id).await.map(|attempts| attempts.len()), Some(1));
}

pub async fn a_rerun_by_name_waits_for_whoever_knows_what_it_copies(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    world.lower(at(4)).await;
    let workflow = WorkflowKey { name: WORKFLOW.into(), fingerprint: Fingerprint::UNKNOWN };
    let empty = Some(Box::new(Rerun { audit: None, of: old, copied: Vec::new() }));
    let new = NewExecution { workflow, rerun: empty, ..draft(&[]) };
    let id = new.id;
    assert_eq!(world.record(vec![new], at(5)).await.submitted, [id]);
    assert_eq!(world.header(old).await.superseded_by, Some(id));
    let version = key(WORKFLOW, 1);
    for _ in 0..2 {
        assert_eq!(world.reruns_met(&version, &[0, 1, 1], at(6)).await, [id], "it is told, and left");
    }
    assert_eq!(world.load(id).await.tasks.len(), 0);
    let planned = NewExecution { id, workflow: version.clone(), ..rerun(old) };
    let planned = Arc::new(planned);
    assert!(world.expand_rerun(&planned, at(7)).await);
    assert!(!world.expand_rerun(&planned, at(7)).await, "once");
    assert_eq!(world.reruns_met(&version, &[0, 1, 1], at(8)).await, []);
    let record = world.load(id).await;
    assert_eq!((record.header.workflow, record.header.rerun_of), (version, Some(old)));
    assert_eq!(record.tasks[0].patch.as_deref(), Some(r#"{"set":{"a":1}}"#));
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready, TaskState::Pending]);
    let claimed = runner.claim(10, at(9)).await;
    assert_eq!(
        claimed.iter().map(|claimed| (claimed.execution, claimed.task)).collect::<Vec<_>>(),
        [(id, 1)]
    );
    // One that is over gets no tasks.
    let other = failed_one(&runner).await;
    let workflow = WorkflowKey { name: WORKFLOW.into(), fingerprint: Fingerprint::UNKNOWN };
    let empty = Some(Box::new(Rerun { audit: None, of: other, copied: Vec::new() }));
    let new = NewExecution { workflow, rerun: empty, ..draft(&[]) };
    let cancelled = new.id;
    world.record(vec![new], at(10)).await;
    world.cancel(cancelled, at(11)).await;
    let planned = NewExecution { id: cancelled, workflow: key(WORKFLOW, 1), ..rerun(other) };
    assert!(!world.expand_rerun(&Arc::new(planned), at(12)).await);
    assert_eq!(world.load(cancelled).await.tasks.len(), 0);
}

pub async fn a_wait_that_nothing_is_before_but_copies_is_reached_at_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    let mut new = rerun(old);
    let node = |(n, task): (usize, &NewTask)| NewTask { is_wait: n == 1, ..task.clone() };
    new.tasks = new.tasks.iter().enumerate().map(node).collect();
    let id = new.id;
    world.record(vec![new], at(5)).await;
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Waiting, TaskState::Pending]);
    assert!(world.is_rung(at(5)).await);
    assert_eq!(world.lower(at(5)).await.due, Some(at(5)));
}

pub async fn only_what_is_over_is_rerun_and_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let running = runner.submit(claimed_draft(1), at(0)).await;
    let old = failed_one(&runner).await;
    let [first, second, early, nowhere] = [old, old, running, ExecutionId::new()].map(rerun);
    let ids = [first.id, second.id, early.id, nowhere.id];
    let recorded = world.record(vec![first, second, early, nowhere], at(5)).await;
    assert_eq!(recorded.submitted, [ids[0]]);
    let mut refused = recorded.refused;
    refused.sort_unstable_by_key(|(id, _)| *id);
    let expected = [
        (ids[1], RerunRefusal::Superseded(ids[0])),
        (ids[2], RerunRefusal::NotOver(ExecutionStatus::Running)),
        (ids[3], RerunRefusal::NotFound),
    ];
    assert_eq!(refused, expected);
    assert_eq!(world.load_all(&ids[1..]).await.len(), 0, "nothing of them is left");
    assert_eq!(world.header(running).await.superseded_by, None);
    let again = rerun(old);
    let refused = world.record(vec![again], at(6)).await.refused;
    assert!(matches!(refused[..], [(_, RerunRefusal::Superseded(by))] if by == ids[0]));
}

pub async fn a_rerun_that_is_repeated_changes_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    let new = rerun(old);
    let (id, again) = (new.id, NewExecution { id: new.id, ..rerun(old) });
    world.record(vec![new], at(5)).await;
    assert_eq!(runner.claim(10, at(6)).await.len(), 1);
    assert_eq!(world.record(vec![again], at(7)).await.refused, []);
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Running, TaskState::Pending]);
    assert_eq!(runner.claim(10, at(8)).await.len(), 0);
}

pub async fn of_two_reruns_at_once_one_wins(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let processes = [world.process().await, world.process().await];
    for round in 0..20 {
        let old = failed_one(&runner).await;
        let reruns = processes.clone().map(|process| {
            let new = rerun(old);
            tokio::spawn(async move { (new.id, process.record(vec![new], at(5)).await) })
        });
        let mut won = Vec::new();
        let mut lost = Vec::new();
        for rerun in reruns {
            let (id, recorded) = rerun.await.expect("it is recorded or refused");
            won.extend(recorded.submitted);
            lost.extend(recorded.refused.into_iter().map(|(_, refusal)| refusal));
            assert!(won.contains(&id) || !lost.is_empty());
        }
        assert_eq!((won.len(), lost), (1, vec![RerunRefusal::Superseded(won[0])]), "{round}");
        assert_eq!(world.header(old).await.superseded_by, Some(won[0]));
    }
}

pub async fn a_rerun_and_a_prune_do_not_both_win(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let pruner = world.process().await;
    for round in 0..20 {
        let old = failed_one(&runner).await;
        let new = rerun(old);
        let id = new.id;
        let pruning = pruner.clone();
        let pruning = tokio::spawn(async move { pruning.prune(at(100), 10).await });
        let recorded = world.record(vec![new], at(5)).await;
        let pruned = pruning.await.expect("it prunes");
        if recorded.submitted == [id] {
            let patch = world.load(id).await.tasks[0].patch.clone();
            assert_eq!(patch.as_deref(), Some(r#"{"set":{"a":1}}"#), "{round}");
        } else {
            assert_eq!((pruned, recorded.refused), (1, vec![(id, RerunRefusal::NotFound)]), "{round}");
            assert_eq!(world.load_all(&[id]).await.len(), 0);
        }
        // What is left of the old one goes another time.
        world.prune(at(100), 10).await;
        assert_eq!(world.load_all(&[old]).await.len(), 0);
    }
}

pub async fn a_signal_to_what_was_rerun_is_told_as_what(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let old = failed_one(&runner).await;
    let new = rerun(old);
    let id = new.id;
    world.record(vec![new], at(5)).await;
    let signal = NewSignal {
        audit: None,
        target: SignalTarget::Id(old),
        name: "paid".into(),
        payload: "1".into(),
        key: None,
        starts: None,
    };
    let place = Arc::clone(&world.place);
    let sent = world.call(|store| async move { store.signal_send(&place, &signal, Some(at(6))).await }).await;
    assert_eq!(sent, SignalSent::AlreadyOver(old, ExecutionStatus::Failed, Some(id)));
}

pub async fn what_is_superseded_is_listed_or_left_out(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let (old, other) = (failed_one(&runner).await, failed_one(&runner).await);
    let new = NewExecution { tags: vec![String::from("red")], ..rerun(old) };
    let id = new.id;
    world.record(vec![new], at(5)).await;
    let list = |filter| world.list(ExecutionList { filter, before: None, limit: 10 });
    let all = ExecutionFilter::all();
    assert_eq!(list(all.clone().superseded(true)).await, [old]);
    assert_eq!(list(all.clone().superseded(false)).await, [id, other]);
    let of_failed = all.clone().status(ExecutionStatus::Failed);
    assert_eq!(list(of_failed.clone()).await, [other, old]);
    assert_eq!(list(of_failed.clone().superseded(false)).await, [other]);
    assert_eq!(list(of_failed.workflow("another").superseded(false)).await, []);
    assert_eq!(list(all.clone().superseded(false).tag("red")).await, [id]);
    assert_eq!(list(all.superseded(true).tag("red")).await, []);
}

pub async fn an_execution_has_its_tags_and_is_found_by_each(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let tagged =
        |tags: &[&str], new| NewExecution { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..new };
    let one = runner.submit(tagged(&["a'\"{}", "b"], claimed_draft(1)), at(0)).await;
    let two = world.submit(tagged(&["b"], draft(&[0])), at(0)).await;
    let three = tagged(&["b"], draft(&[0]));
    let three_id = three.id;
    world.record(vec![three], at(0)).await;
    let none = world.submit(draft(&[0]), at(0)).await;
    assert_eq!(world.header(one).await.tags, ["a'\"{}", "b"]);
    assert_eq!(world.header(none).await.tags.len(), 0);
    assert_eq!(tags_of(&world, "a'\"{}").await, [one]);
    assert_eq!(tags_of(&world, "b").await, [three_id, two, one]);
    assert_eq!(tags_of(&world, "nothing").await, []);
    let list = |filter, before, limit| world.list(ExecutionList { filter, before, limit });
    let b = ExecutionFilter::all().tag("b");
    assert_eq!(list(b.clone(), Some(three_id), 1).await, [two], "a page");
    assert_eq!(list(b.clone().status(ExecutionStatus::Running), None, 10).await, [one]);
    assert_eq!(list(b.clone().workflow("another"), None, 10).await, []);
    assert_eq!(list(b.workflow(WORKFLOW), None, 10).await, [three_id, two, one]);
    runner.report(completed(one, 0), at(1)).await;
    assert_eq!(world.prune(at(2), 10).await, 1);
    assert_eq!(tags_of(&world, "a'\"{}").await, [], "they go with it");
    assert_eq!(tags_of(&world, "b").await, [three_id, two]);
}

pub async fn many_are_recorded_at_once_and_what_met_its_key_is_told(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let keyed = |n: i64| {
        let idempotency = Some(Idempotency { key: format!("k{n}"), input_hash: n });
        NewExecution { idempotency, tags: vec![format!("t{}", n % 2)], ..draft(&[0, 1]) }
    };
    let before = world.submit(keyed(3), at(0)).await;
    let all: Vec<_> = (0..1_000).map(keyed).collect();
    let ids: Vec<_> = all.iter().map(|new| new.id).collect();
    let recorded = world.record(all, at(1)).await;
    let mut submitted = recorded.submitted;
    submitted.sort_unstable();
    let expected: Vec<_> = ids.iter().copied().filter(|id| *id != ids[3]).collect();
    assert_eq!(submitted, expected);
    assert_eq!(recorded.met, [(ids[3], (before, 3))]);
    assert_eq!(runner.claim(2_000, at(2)).await.len(), 1_000);
    let filter = ExecutionFilter::all().tag("t1");
    assert_eq!(world.list(ExecutionList { filter, before: None, limit: 1_000 }).await.len(), 500);
    let unkeyed: Vec<_> = (0..3).map(|_| draft(&[0])).collect();
    let again: Vec<_> = unkeyed.iter().map(|new| NewExecution { id: new.id, ..draft(&[0]) }).collect();
    assert_eq!(world.record(unkeyed, at(3)).await.submitted.len(), 3);
    world.record(again, at(4)).await;
    assert_eq!(runner.claim(10, at(5)).await.len(), 3, "a repeat records nothing");
}
