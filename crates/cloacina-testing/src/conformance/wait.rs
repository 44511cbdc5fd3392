//! Waits, and the signals and times that end them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{AttemptOutcome, ExecutionStatus, SkipReason, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{
    Closed, Control, Controlled, DueKind, DueWait, EndedBy, Idempotency, NEVER, NewExecution, NewSignal,
    NewTask, Outcome, SignalSent, SignalStart, SignalTarget, TaskOutcome, WaitBegin, WaitEnd, WaitFilter,
    WaitStep,
};
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, WORKFLOW, World, at, claimed_draft, completed, draft, key};

/// As [`draft`], where a wait stands for each number that is given as true.
fn waits(nodes: &[(i16, bool)]) -> NewExecution {
    let of = |(index, (waiting_on, is_wait)): (usize, &(i16, bool))| NewTask {
        name: format!("t{index}"),
        is_wait: *is_wait,
        waiting_on: *waiting_on,
    };
    NewExecution { tasks: nodes.iter().enumerate().map(of).collect(), ..draft(&[]) }
}

/// A wait alone, or before a task.
fn one_wait() -> NewExecution {
    waits(&[(0, true)])
}

fn begin(execution: ExecutionId, node: TaskIndex, signal: Option<&str>, until: Timestamp) -> WaitStep {
    WaitStep::Begin(WaitBegin {
        execution,
        node,
        signal: signal.map(Into::into),
        until,
        ask: None,
        children: None,
    })
}

fn end_of(outcome: Outcome, by: EndedBy) -> WaitStep {
    WaitStep::End(WaitEnd { by, outcome: Arc::new(Outcome { attempt: 0, ..outcome }), sweeps: false })
}

fn end(execution: ExecutionId, node: TaskIndex, by: EndedBy) -> WaitStep {
    end_of(completed(execution, node), by)
}

fn signal(execution: ExecutionId, name: &str, payload: &str) -> NewSignal {
    let target = SignalTarget::Id(execution);
    NewSignal { target, name: name.into(), payload: payload.into(), key: None, starts: None, audit: None }
}

impl Process {
    /// The waits that are due, without how they were found.
    async fn due_waits(&self, now: Timestamp) -> Vec<DueWait> {
        let place = Arc::clone(&self.place);
        let known = [key(WORKFLOW, 1)].into();
        self.call(|store| async move { store.wait_due(&place, &known, None, 100, Some(now)).await })
            .await
            .waits
    }

    /// What is due, as positions and whether a signal is there.
    async fn due(&self, now: Timestamp) -> Vec<(TaskIndex, Option<i64>)> {
        let due = self.due_waits(now).await;
        due.iter().map(|wait| (wait.node, wait.signal.as_ref().map(|signal| signal.number))).collect()
    }

    /// Does steps; how many were done, and what ended with them.
    async fn steps(&self, steps: impl IntoIterator<Item = WaitStep>, now: Timestamp) -> (usize, Vec<Closed>) {
        let (place, steps): (_, Arc<[WaitStep]>) = (Arc::clone(&self.place), steps.into_iter().collect());
        let done =
            self.call(|store| async move { store.wait_settle(&place, &steps, &[], Some(now)).await }).await;
        (done.done, done.closed)
    }

    async fn send(&self, signal: NewSignal, now: Timestamp) -> SignalSent {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.signal_send(&place, &signal, Some(now)).await }).await
    }

    async fn move_wait(
        &self,
        id: ExecutionId,
        wait: &'static str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.wait_move(&place, id, wait, until, None, Some(now)).await })
            .await
    }

    /// The positions of the open waits, and until when they wait.
    async fn open_waits(&self, id: ExecutionId) -> Vec<(TaskIndex, Option<String>, Option<Timestamp>)> {
        let place = Arc::clone(&self.place);
        let filter = WaitFilter { execution: Some(id), limit: 100, ..WaitFilter::default() };
        let open = self.call(|store| async move { store.wait_list(&place, &filter).await }).await;
        open.into_iter().map(|wait| (wait.node, wait.signal, wait.until)).collect()
    }

    /// An execution that waits for the signal `go`, or until then.
    async fn waiting(&self, new: NewExecution, until: Timestamp) -> ExecutionId {
        let id = self.submit(new, at(0)).await;
        assert_eq!(self.steps([begin(id, 0, Some("go"), until)], at(0)).await.0, 1);
        id
    }
}

pub async fn a_wait_is_due_when_it_is_reached_and_then_when_its_time_is_over(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let new = NewExecution { claimed: vec![0], ..waits(&[(0, false), (1, true), (1, false)]) };
    let id = runner.submit(new, at(0)).await;
    assert_eq!(world.due(at(1)).await, []);
    let reached = Outcome { waits: vec![1], ..completed(id, 0) };
    let flushed = runner.report(reached, at(2)).await;
    assert_eq!(flushed.freed.len(), 1);
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Waiting, TaskState::Pending]);
    assert!(world.is_rung(at(2)).await, "somebody is to look");
    assert_eq!(world.lower(at(2)).await.due, Some(at(2)));
    let due = world.due_waits(at(2)).await;
    assert_eq!((due.len(), due[0].execution, due[0].node, due[0].reached_at), (1, id, 1, at(2)));
    assert_eq!((due[0].until, &due[0].signal), (None, &None), "it has not begun to wait");
    assert!(runner.claim(10, at(2)).await.is_empty(), "no slot is needed for it");
    assert_eq!(world.steps([begin(id, 1, None, at(50))], at(3)).await, (1, vec![]));
    assert_eq!(world.open_waits(id).await, [(1, None, Some(at(50)))]);
    assert_eq!(world.due(at(49)).await, []);
    assert_eq!(world.lower(at(4)).await.due, Some(at(50)));
    assert_eq!(world.due(at(50)).await, [(1, None)]);
    let over = Outcome { successors: vec![(2, false)], ..completed(id, 1) };
    assert_eq!(world.steps([end_of(over, EndedBy::Time)], at(50)).await, (1, vec![]));
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Completed, TaskState::Ready]);
    assert_eq!(world.open_waits(id).await, []);
    assert_eq!(world.lower(at(51)).await.due, None);
    assert_eq!(runner.claim(10, at(51)).await.len(), 1);
    runner.report(completed(id, 2), at(52)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
}

pub async fn a_wait_alone_begins_its_execution_and_ends_it(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(one_wait(), at(0)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Pending);
    assert_eq!(world.due(at(0)).await, [(0, None)]);
    world.steps([begin(id, 0, None, at(10))], at(1)).await;
    let header = world.header(id).await;
    assert_eq!((header.status, header.started_at), (ExecutionStatus::Waiting, Some(at(1))));
    assert!(world.repair(at(2)).await.is_empty(), "something is left to be done");
    let closed = Closed { execution: id, status: ExecutionStatus::Completed };
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(10)).await, (1, vec![closed]));
    assert_eq!(world.endings(id).await, [], "it was never tried");
    assert_eq!(world.header(id).await.finished_at, Some(at(10)));
    assert_eq!(world.lower(at(11)).await.earliest(), None);
}

pub async fn a_wait_that_is_skipped_or_fails_ends_as_a_task_does(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let skipped = world.submit(one_wait(), at(0)).await;
    let outcome = |id, outcome| Outcome::new(id, 0, 0, outcome);
    let skip = TaskOutcome::Skipped { reason: SkipReason::UpstreamFailed };
    let (done, closed) = world.steps([end_of(outcome(skipped, skip), EndedBy::Rule)], at(1)).await;
    assert_eq!((done, closed[0].status), (1, ExecutionStatus::Completed));
    let record = world.load(skipped).await;
    assert_eq!(record.tasks[0].skip_reason, Some(SkipReason::UpstreamFailed));
    let failed = world.waiting(waits(&[(0, true), (1, false)]), at(5)).await;
    let fail = TaskOutcome::Failed { how: AttemptOutcome::TimedOut, error: "too late".to_owned() };
    let fail = Outcome { successors: vec![(1, false)], ..outcome(failed, fail) };
    assert_eq!(world.steps([end_of(fail, EndedBy::Time)], at(5)).await.0, 1);
    assert_eq!(world.load(failed).await.tasks[0].error.as_deref(), Some("too late"));
    let claimed = runner.claim(10, at(6)).await;
    assert_eq!((claimed.len(), claimed[0].task), (1, 1));
    let handles = Outcome { handles: vec![0], ..completed(failed, 1) };
    runner.report(handles, at(7)).await;
    assert_eq!(world.header(failed).await.status, ExecutionStatus::Completed);
}

pub async fn a_signal_starts_what_is_not_there_in_one_commit(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let starting = |key: &str, input: &str| {
        let target = SignalTarget::Key { workflow: WORKFLOW.into(), key: key.into() };
        let execution = ExecutionId::new();
        let starts = Some(SignalStart { execution, priority: 7, input: input.into(), input_hash: 5 });
        (execution, NewSignal { target, starts, ..signal(execution, "go", "1") })
    };
    let (id, first) = starting("77", r#"{"n":1}"#);
    assert_eq!(world.send(first.clone(), at(1)).await, SignalSent::Started(id));
    assert!(world.is_rung(at(1)).await, "nobody else would look");
    let (_, second) = starting("77", r#"{"n":2}"#);
    assert_eq!(world.send(second, at(2)).await, SignalSent::Buffered(id), "whatever its input");
    // Whoever has the code gives it its nodes, and the wait finds the signals in their order.
    assert_eq!(world.expand(&key(WORKFLOW, 1), &[0], 10, at(3)).await, 1);
    let record = world.load(id).await;
    assert_eq!((record.header.workflow, &*record.input), (key(WORKFLOW, 1), r#"{"n":1}"#));
    assert_eq!(record.header.priority, 7);
    // Many at once are one.
    let mut sending = Vec::new();
    for _ in 0..8 {
        let (process, (_, signal)) = (world.process().await, starting("78", "{}"));
        sending.push(tokio::spawn(async move { process.send(signal, at(4)).await }));
    }
    let mut receipts = Vec::new();
    for sent in sending {
        receipts.push(sent.await.expect("it is sent"));
    }
    let started = receipts.iter().filter(|sent| matches!(sent, SignalSent::Started(_))).count();
    let buffered = receipts.iter().filter(|sent| matches!(sent, SignalSent::Buffered(_))).count();
    assert_eq!((started, buffered), (1, 7), "{receipts:?}");
    world.cancel(id, at(5)).await;
    assert_eq!(world.send(first, at(6)).await, SignalSent::AlreadyOver(id, ExecutionStatus::Cancelled, None));
}

pub async fn signals_are_taken_in_their_order_and_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(&[(0, true), (1, true)]), at(0)).await;
    // Before the wait, and of another name.
    assert_eq!(world.send(signal(id, "go", "1"), at(1)).await, SignalSent::Buffered(id));
    assert_eq!(world.send(signal(id, "go", "2"), at(2)).await, SignalSent::Buffered(id));
    assert_eq!(world.send(signal(id, "other", "3"), at(2)).await, SignalSent::Buffered(id));
    world.steps([begin(id, 0, Some("go"), NEVER)], at(3)).await;
    let due = world.due_waits(at(3)).await;
    let first = due[0].signal.as_ref().expect("it is there");
    assert_eq!((due.len(), first.number, &*first.payload), (1, 1, "1"));
    assert_eq!(world.steps([end(id, 0, EndedBy::Signal(2))], at(3)).await.0, 0, "it is not its turn");
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(3)).await.0, 0, "the signal was first");
    let next = Outcome { waits: vec![1], ..completed(id, 0) };
    assert_eq!(world.steps([end_of(next, EndedBy::Signal(1))], at(4)).await.0, 1);
    world.steps([begin(id, 1, Some("go"), NEVER)], at(5)).await;
    assert_eq!(world.due(at(5)).await, [(1, Some(2))]);
    assert_eq!(world.steps([end(id, 1, EndedBy::Signal(1))], at(5)).await.0, 0, "it was taken");
    assert_eq!(world.steps([end(id, 1, EndedBy::Signal(2))], at(5)).await.0, 1);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
    let over = SignalSent::AlreadyOver(id, ExecutionStatus::Completed, None);
    assert_eq!(world.send(signal(id, "go", "4"), at(6)).await, over);
}

pub async fn a_signal_has_the_wait_looked_at_at_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.waiting(one_wait(), NEVER).await;
    assert_eq!(world.lower(at(1)).await.due, Some(NEVER));
    assert_eq!(world.send(signal(id, "other", "1"), at(2)).await, SignalSent::Buffered(id));
    assert_eq!(world.due(at(2)).await, []);
    assert_eq!(world.send(signal(id, "go", "2"), at(3)).await, SignalSent::Delivered(id));
    assert!(world.is_rung(at(3)).await, "another process may be the one that looks");
    assert_eq!(world.lower(at(3)).await.due, Some(at(3)));
    assert_eq!(world.due(at(3)).await, [(0, Some(1))]);
}

pub async fn a_signal_is_addressed_by_a_key_and_has_one(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let idempotency = Some(Idempotency { key: "77".to_owned(), input_hash: 1 });
    let id = world.submit(NewExecution { idempotency, ..one_wait() }, at(0)).await;
    let to = |key: &str| SignalTarget::Key { workflow: WORKFLOW.into(), key: key.into() };
    let send = |target, key: Option<&str>| {
        let signal = NewSignal { target, key: key.map(Into::into), ..signal(id, "go", "1") };
        world.send(signal, at(1))
    };
    assert_eq!(send(to("77"), Some("a")).await, SignalSent::Buffered(id));
    assert_eq!(send(SignalTarget::Id(id), Some("a")).await, SignalSent::Repeated(id));
    assert_eq!(send(to("77"), Some("b")).await, SignalSent::Buffered(id));
    assert_eq!(send(to("77"), None).await, SignalSent::Buffered(id));
    assert_eq!(send(to("78"), None).await, SignalSent::NotFound);
    assert_eq!(send(SignalTarget::Id(ExecutionId::new()), None).await, SignalSent::NotFound);
}

pub async fn the_time_of_a_wait_can_be_moved(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.waiting(one_wait(), at(10)).await;
    assert!(!world.move_wait(id, "another", None, at(1)).await);
    assert!(world.move_wait(id, "t0", Some(at(20)), at(1)).await);
    assert_eq!(world.open_waits(id).await, [(0, Some("go".to_owned()), Some(at(20)))]);
    assert_eq!(world.due(at(10)).await, []);
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(10)).await.0, 0, "it is too early now");
    assert!(world.move_wait(id, "t0", None, at(11)).await);
    assert!(world.is_rung(at(11)).await);
    assert_eq!(world.due(at(11)).await, [(0, None)]);
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(11)).await.0, 1);
    assert!(!world.move_wait(id, "t0", None, at(12)).await, "it is over");
}

pub async fn a_signal_that_is_there_is_taken_however_long_the_wait_may_last(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.waiting(one_wait(), at(10)).await;
    assert_eq!(world.send(signal(id, "go", "1"), at(1)).await, SignalSent::Delivered(id));
    assert!(world.move_wait(id, "t0", Some(at(99)), at(2)).await);
    assert_eq!(world.due(at(2)).await, [(0, Some(1))]);
}

pub async fn an_execution_that_began_and_ended_while_it_was_paused_is_over_when_it_is_resumed(
    fixture: &impl Fixture,
) {
    let world = World::new(fixture).await;
    let id = world.submit(one_wait(), at(0)).await;
    world.send(signal(id, "go", "1"), at(1)).await;
    world.pause(id, at(2)).await;
    assert_eq!(world.steps([begin(id, 0, Some("go"), NEVER)], at(3)).await.0, 1);
    assert_eq!(world.steps([end(id, 0, EndedBy::Signal(1))], at(4)).await.0, 1);
    assert_eq!(world.header(id).await.status, ExecutionStatus::Paused);
    assert_eq!(world.resume(id, at(5)).await, Controlled::Done(ExecutionStatus::Completed));
}

pub async fn a_wait_begins_once_and_ends_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.waiting(one_wait(), at(10)).await;
    assert_eq!(world.steps([begin(id, 0, None, at(99))], at(1)).await.0, 0);
    assert_eq!(world.steps([end(id, 0, EndedBy::Rule)], at(1)).await.0, 0, "it has begun to wait");
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(9)).await.0, 0, "its time is not over");
    assert_eq!(world.steps([end(id, 0, EndedBy::Signal(1))], at(10)).await.0, 0, "there is none");
    let twice = [end(id, 0, EndedBy::Time), end(id, 0, EndedBy::Time)];
    assert_eq!(world.steps(twice, at(10)).await.0, 1);
    assert_eq!(world.steps([end(id, 0, EndedBy::Time)], at(11)).await.0, 0);
    assert_eq!(world.steps([begin(id, 0, None, at(99))], at(11)).await.0, 0);
    let running = world.runner().await.submit(claimed_draft(1), at(12)).await;
    let steps =
        [begin(running, 0, None, at(99)), end(running, 0, EndedBy::Rule), end(running, 9, EndedBy::Rule)];
    assert_eq!(world.steps(steps, at(12)).await.0, 0, "a task is no wait");
}

/// Something that may happen to an execution that waits for the signal `go`, or until 10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Signal,
    Timeout,
    Cancel,
    Pause,
    Resume,
    Deadline,
    Move,
}

pub async fn whatever_comes_in_which_order_a_wait_has_one_end(fixture: &impl Fixture) {
    use Event::{Cancel, Deadline, Move, Pause, Resume, Signal, Timeout};
    let world = World::new(fixture).await;
    let events = [Signal, Timeout, Cancel, Pause, Resume, Deadline, Move];
    for (first, second) in events.iter().flat_map(|first| events.iter().map(move |second| (*first, *second)))
    {
        let deadline = [first, second].contains(&Deadline).then_some(at(20));
        let id = world.waiting(NewExecution { deadline, ..one_wait() }, at(10)).await;
        for event in [first, second] {
            match event {
                Signal => drop(world.send(signal(id, "go", "1"), at(5)).await),
                // What a process does that looks what is due.
                Timeout => {}
                Cancel => drop(world.cancel(id, at(5)).await),
                Pause => drop(world.pause(id, at(5)).await),
                Resume => drop(world.resume(id, at(5)).await),
                Deadline => drop(world.expire(at(20)).await),
                Move => drop(world.move_wait(id, "t0", Some(at(7)), at(5)).await),
            }
            let now = if event == Timeout { at(10) } else { at(5) };
            let due = world.due_waits(now).await;
            assert!(due.len() <= 1, "{first:?}, {second:?}");
            let by = due.first().map(|due| match &due.signal {
                Some(signal) => EndedBy::Signal(signal.number),
                None => EndedBy::Time,
            });
            if let Some(by) = by {
                assert_eq!(world.steps([end(id, 0, by)], now).await.0, 1, "{first:?}, {second:?}");
            }
        }
        let record = world.load(id).await;
        let status = record.header.status;
        let states = [TaskState::Waiting, TaskState::Completed, TaskState::Cancelled];
        assert!(states.contains(&record.tasks[0].state));
        match record.tasks[0].state {
            TaskState::Waiting => assert!(!status.is_terminal(), "{first:?}, {second:?}: {status}"),
            TaskState::Cancelled => assert_eq!(status, ExecutionStatus::Cancelled),
            _ if first == Pause => assert_eq!(status, ExecutionStatus::Paused),
            _ => assert_eq!(status, ExecutionStatus::Completed, "{first:?}, {second:?}"),
        }
        let open = usize::from(record.tasks[0].state == TaskState::Waiting);
        assert_eq!(world.open_waits(id).await.len(), open, "{first:?}, {second:?}");
        world.resume(id, at(21)).await;
        world.cancel(id, at(21)).await;
        assert_eq!(world.lower(at(22)).await.earliest(), None, "{first:?}, {second:?}: nothing stays due");
    }
    assert_eq!(world.prune(at(1_000), 1_000).await, events.len().pow(2));
}

pub async fn a_paused_execution_takes_ends_of_waits_and_starts_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.waiting(waits(&[(0, true), (1, false)]), at(10)).await;
    world.pause(id, at(1)).await;
    assert_eq!(world.due(at(10)).await, [(0, None)], "time goes on");
    let over = Outcome { successors: vec![(1, false)], ..completed(id, 0) };
    assert_eq!(world.steps([end_of(over, EndedBy::Time)], at(10)).await.0, 1);
    assert_eq!(world.states(id).await, [TaskState::Completed, TaskState::Ready]);
    assert_eq!(runner.claim(10, at(11)).await, []);
    assert_eq!(world.resume(id, at(12)).await, Controlled::Done(ExecutionStatus::Running));
    assert_eq!(runner.claim(10, at(13)).await.len(), 1);
}

pub async fn an_execution_that_has_nothing_left_but_waits_is_waiting(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let new = NewExecution { claimed: vec![0], ..waits(&[(0, false), (0, true), (1, false)]) };
    let id = runner.submit(new, at(0)).await;
    world.steps([begin(id, 1, None, at(50))], at(1)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Running, "a task of it runs");
    runner.report(Outcome { parks: true, ..completed(id, 0) }, at(2)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Waiting);
    assert_eq!(world.count(10).await, 0, "it is no work that waits for its turn");
    assert!(world.repair(at(3)).await.is_empty());
    assert_eq!(world.pause(id, at(4)).await, Controlled::Done(ExecutionStatus::Paused));
    assert_eq!(world.resume(id, at(5)).await, Controlled::Done(ExecutionStatus::Waiting));
    let over = Outcome { successors: vec![(2, false)], ..completed(id, 1) };
    world.steps([end_of(over, EndedBy::Time)], at(50)).await;
    assert_eq!(world.header(id).await.status, ExecutionStatus::Running, "something of it is ready");
    assert_eq!(world.count(10).await, 1);
    let late = world.waiting(NewExecution { deadline: Some(at(60)), ..one_wait() }, NEVER).await;
    assert_eq!(world.expire(at(60)).await, [late], "its deadline counts");
}

pub async fn a_wait_waits_for_the_start_of_its_execution(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(NewExecution { start_at: Some(at(100)), ..one_wait() }, at(0)).await;
    assert_eq!(world.due(at(99)).await, []);
    assert_eq!(world.lower(at(1)).await.due, Some(at(100)));
    let due = world.due_waits(at(100)).await;
    assert_eq!((due.len(), due[0].reached_at), (1, at(100)));
    assert_eq!(world.cancel(id, at(101)).await, Controlled::Done(ExecutionStatus::Cancelled));
    assert_eq!(world.lower(at(102)).await.earliest(), None);
}

pub async fn a_wait_of_an_unknown_version_is_left_to_others(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let unknown = world.submit(NewExecution { workflow: key("another", 7), ..one_wait() }, at(0)).await;
    let known = world.submit(one_wait(), at(1)).await;
    let due = world.due_waits(at(2)).await;
    assert_eq!(due.iter().map(|due| due.execution).collect::<Vec<_>>(), [known]);
    let (place, other) = (Arc::clone(&world.place), [key("another", 7)].into());
    let theirs =
        world.call(|store| async move { store.wait_due(&place, &other, None, 100, Some(at(2))).await }).await;
    assert_eq!(theirs.waits.iter().map(|due| due.execution).collect::<Vec<_>>(), [unknown]);
    assert_eq!(theirs.void, [], "what somebody knows is not taken away");
    // Who looks for work that nobody has the code of finds it.
    let overdue = world.overdue(&[key(WORKFLOW, 1)], Duration::ZERO, at(2)).await;
    assert_eq!(overdue, [(unknown, key("another", 7))]);
    assert_eq!(
        world.control(unknown, Control::Orphan, at(3)).await,
        Controlled::Done(ExecutionStatus::Paused)
    );
    assert_eq!(world.overdue(&[key(WORKFLOW, 1)], Duration::ZERO, at(4)).await, []);
    assert_eq!(world.orphaned(&[key("another", 7)]).await, [(unknown, key("another", 7))]);
}

pub async fn waits_whose_code_nobody_has_are_not_due_until_it_comes(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let known = || [key(WORKFLOW, 1)];
    let resting = async |id| {
        let orphaned = world.control(id, Control::Orphan, at(20)).await;
        assert_eq!(orphaned, Controlled::Done(ExecutionStatus::Paused));
        assert_eq!(world.lower(at(20)).await.earliest(), Some(NEVER), "nothing is to be looked at");
        assert_eq!(world.overdue(&[], Duration::ZERO, at(1_000)).await, []);
    };
    let resumed = async |id, due: i64| {
        world.resume(id, at(30)).await;
        assert!(world.is_rung(at(due.max(30))).await, "nobody else would look");
        assert_eq!(world.lower(at(30)).await.due, Some(at(due)));
        let looked = world.due_waits(at(due)).await;
        assert_eq!(looked.iter().map(|due| due.execution).collect::<Vec<_>>(), [id]);
        world.cancel(id, at(99)).await;
        assert_eq!(world.lower(at(99)).await.earliest(), None);
    };
    // One that was reached, one that waits for its time, and one whose time passes meanwhile.
    let reached = world.submit(one_wait(), at(0)).await;
    assert_eq!(world.overdue(&[], Duration::ZERO, at(1)).await, [(reached, key(WORKFLOW, 1))]);
    resting(reached).await;
    resumed(reached, 30).await;
    for (until, due) in [(40, 40), (25, 25)] {
        let waiting = world.waiting(one_wait(), at(until)).await;
        resting(waiting).await;
        resumed(waiting, due).await;
    }
    // Signals that come before and meanwhile.
    for before in [true, false] {
        let waiting = world.waiting(one_wait(), at(1_000)).await;
        if before {
            world.send(signal(waiting, "go", "1"), at(19)).await;
            resting(waiting).await;
        } else {
            resting(waiting).await;
            world.send(signal(waiting, "go", "1"), at(21)).await;
            assert_eq!(world.overdue(&[], Duration::ZERO, at(22)).await, [(waiting, known()[0].clone())]);
            resting(waiting).await;
        }
        resumed(waiting, 30).await;
    }
    // One that somebody paused.
    let paused = world.waiting(one_wait(), at(10)).await;
    world.pause(paused, at(11)).await;
    assert_eq!(world.overdue(&[], Duration::ZERO, at(12)).await, [(paused, known()[0].clone())]);
    resting(paused).await;
    let again = world.control(paused, Control::Orphan, at(20)).await;
    assert_eq!(again, Controlled::Refused(ExecutionStatus::Paused));
    assert_eq!(world.orphaned(&known()).await, [], "it stays as it was paused");
    resumed(paused, 10).await;
}

pub async fn due_waits_are_read_page_by_page(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let mut ids = BTreeSet::new();
    for time in [0, 0, 1, 1, 2] {
        ids.insert(world.submit(one_wait(), at(time)).await);
    }
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let (place, known, from) = (Arc::clone(&world.place), [key(WORKFLOW, 1)].into(), after.clone());
        let page = world
            .call(|store| async move { store.wait_due(&place, &known, from.as_ref(), 2, Some(at(3))).await })
            .await;
        assert_eq!(page.now, at(3));
        assert!(page.waits.len() <= 2);
        seen.extend(page.waits.iter().map(|due| due.execution));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!((seen.len(), seen.into_iter().collect::<BTreeSet<_>>()), (5, ids));
}

pub async fn two_processes_settle_each_wait_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = || Arc::new(one_wait());
    let ids: Vec<_> = (0..200).map(|_| new()).collect();
    world.batch(at(0)).submits(ids.iter().cloned()).write().await;
    world.steps(ids.iter().map(|new| begin(new.id, 0, None, at(10))), at(1)).await;
    let processes = [world.process().await, world.process().await];
    let settling = processes.map(|process| {
        tokio::spawn(async move {
            let mut settled = 0;
            // What the other one has locked is not done by this one, so both look until nothing is due.
            loop {
                let due = process.due_waits(at(10)).await;
                if due.is_empty() {
                    return settled;
                }
                let steps = due.iter().map(|due| end(due.execution, 0, EndedBy::Time));
                settled += process.steps(steps, at(10)).await.0;
            }
        })
    });
    let mut settled = 0;
    for settling in settling {
        settled += settling.await.expect("it settles to the end");
    }
    assert_eq!(settled, 200, "none is lost, and none ends twice");
}

pub async fn a_signal_and_a_time_that_meet_have_one_winner(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let processes = [world.process().await, world.process().await];
    for round in 0..30 {
        let id = world.waiting(one_wait(), at(10)).await;
        let [sender, timer] = processes.clone();
        let sending = tokio::spawn(async move { sender.send(signal(id, "go", "1"), at(10)).await });
        let timing = tokio::spawn(async move { timer.steps([end(id, 0, EndedBy::Time)], at(10)).await.0 });
        let (sent, timed) = (sending.await.expect("it sends"), timing.await.expect("it settles"));
        match sent {
            SignalSent::AlreadyOver(..) => assert_eq!(timed, 1, "{round}"),
            SignalSent::Delivered(_) => {
                assert_eq!(timed, 0, "{round}");
                assert_eq!(world.steps([end(id, 0, EndedBy::Signal(1))], at(11)).await.0, 1);
            }
            other => panic!("{round}: {other:?}"),
        }
        assert_eq!(world.header(id).await.status, ExecutionStatus::Completed);
    }
}

pub async fn how_nodes_ended_is_told(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner
        .submit(NewExecution { claimed: vec![0, 1], ..waits(&[(0, false), (0, false), (2, true)]) }, at(0))
        .await;
    let skip = Outcome::new(id, 1, 1, TaskOutcome::Skipped { reason: SkipReason::ByRule });
    runner
        .batch(at(1))
        .outcome(Outcome { waits: vec![2], ..completed(id, 0) })
        .outcome(Outcome { waits: vec![2], ..skip })
        .write()
        .await;
    let (place, of) = (Arc::clone(&world.place), [id, ExecutionId::new()]);
    let mut ends = world.call(|store| async move { store.wait_ends(&place, &of).await }).await;
    ends.sort_by_key(|end| end.node);
    let ends: Vec<_> = ends.iter().map(|end| (end.execution, end.node, end.state, end.skip_reason)).collect();
    assert_eq!(
        ends,
        [(id, 0, TaskState::Completed, None), (id, 1, TaskState::Skipped, Some(SkipReason::ByRule))]
    );
    assert_eq!(world.due(at(1)).await, [(2, None)], "reached with the last of them");
}

pub async fn due_waits_are_told_with_other_kinds(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    world.submit(one_wait(), at(0)).await;
    assert!(!world.settle(&[DueKind::Deadline], at(1)).await.waits);
    let settled = world.settle(DueKind::ALL, at(1)).await;
    assert_eq!((settled.waits, settled.taken), (true, 0));
    let next = world.lower_knowing(&[DueKind::Deadline], at(1)).await;
    assert_eq!((next.due, next.unknown), (None, Some(at(0))), "a program that knows no waits leaves them");
}
