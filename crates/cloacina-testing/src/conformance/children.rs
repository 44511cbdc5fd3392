//! Executions that wait for others.

use std::sync::Arc;
use std::time::Duration;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::id::{ExecutionId, TaskIndex};
use cloacina_core::store::{
    ChildList, ChildrenNode, ChildrenPlan, Control, Controlled, DueChildren, DueKind, DueParent, EndedBy,
    ExecutionFilter, ExecutionList, NEVER, NewChild, NewExecution, NewTask, NodeStep, Outcome, ParentStep,
    SettledWaits, WaitBegin, WaitEnd, WaitStep,
};
use fastrand::Rng;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, Runner, WORKFLOW, World, at, claimed_draft, completed, draft, failed, key};

const ONLY: ChildrenPlan = ChildrenPlan { total: 1, parallel: 1, tolerated: 0, abandons: false };

/// An execution with nodes that wait, beside or before a task for each number.
fn waits(nodes: TaskIndex, tasks: &[i16]) -> NewExecution {
    let wait = |index| NewTask { name: format!("w{index}"), is_wait: true, waiting_on: 0 };
    let task = |(index, waiting_on): (usize, &i16)| NewTask {
        name: format!("t{index}"),
        is_wait: false,
        waiting_on: *waiting_on,
    };
    NewExecution {
        tasks: (0..nodes).map(wait).chain(tasks.iter().enumerate().map(task)).collect(),
        ..draft(&[])
    }
}

fn child(item: i64) -> NewChild {
    NewChild { item, execution: Arc::new(draft(&[0])) }
}

/// A step that starts so many more children of the only node of a parent.
fn starting(parent: &DueParent, many: i64) -> ParentStep {
    let was = parent.nodes[0];
    let starts = (was.started..was.started + many).map(child).collect();
    let now = ChildrenNode { started: was.started + many, ..counted(parent) };
    ParentStep {
        execution: parent.execution,
        rows: parent.rows.clone(),
        nodes: vec![NodeStep { was, now, starts, end: None }],
        goes_on: false,
    }
}

/// The counters of the only node, with the children that have ended.
fn counted(parent: &DueParent) -> ChildrenNode {
    let mut now = parent.nodes[0];
    for child in &parent.ended {
        match child.status {
            ExecutionStatus::Completed => now.completed += 1,
            _ => now.failed += 1,
        }
    }
    now
}

/// A step that counts what has ended, and ends the only node if an outcome is given.
fn counting(parent: &DueParent, end: Option<Outcome>) -> ParentStep {
    let (was, now) = (parent.nodes[0], counted(parent));
    let end = end.map(|outcome| Arc::new(Outcome { attempt: 0, ..outcome }));
    ParentStep {
        execution: parent.execution,
        rows: parent.rows.clone(),
        nodes: vec![NodeStep { was, now, starts: Vec::new(), end }],
        goes_on: false,
    }
}

impl Process {
    async fn due_children(&self, now: Timestamp) -> DueChildren {
        let (place, known) = (Arc::clone(&self.place), [key(WORKFLOW, 1)].into());
        self.call(|store| async move { store.children_due(&place, &known, None, 1_000, Some(now)).await })
            .await
    }

    /// The only execution whose children are to be looked at.
    async fn due_parent(&self, now: Timestamp) -> DueParent {
        let mut parents = self.due_children(now).await.parents;
        assert_eq!(parents.len(), 1, "{parents:?}");
        parents.remove(0)
    }

    async fn settle_children(&self, step: ParentStep, now: Timestamp) -> SettledWaits {
        let (place, steps): (_, Arc<[ParentStep]>) = (Arc::clone(&self.place), [step].into());
        self.call(|store| async move { store.children_settle(&place, &steps, &[], Some(now)).await }).await
    }

    async fn begin_children(&self, id: ExecutionId, node: TaskIndex, plan: ChildrenPlan, now: Timestamp) {
        let (signal, ask, children) = (None, None, Some(plan));
        let begin = WaitBegin { execution: id, node, signal, until: NEVER, ask, children };
        let (place, steps): (_, Arc<[WaitStep]>) = (Arc::clone(&self.place), [WaitStep::Begin(begin)].into());
        let done =
            self.call(|store| async move { store.wait_settle(&place, &steps, &[], Some(now)).await }).await;
        assert_eq!(done.done, 1);
    }

    /// An execution with one node that has started so many children, of which as many may be open.
    async fn parent_of(&self, many: i64, abandons: bool, now: Timestamp) -> ExecutionId {
        let id = self.submit(waits(1, &[]), now).await;
        let plan = ChildrenPlan { total: many, parallel: many, tolerated: 0, abandons };
        self.begin_children(id, 0, plan, now).await;
        let step = starting(&self.due_parent(now).await, many);
        assert_eq!(self.settle_children(step, now).await.done, 1);
        id
    }

    /// Counts what has ended of executions with one node and so many children. Returns how many due rows
    /// there were.
    async fn count_ends(&self, children: i64, now: Timestamp) -> usize {
        let DueChildren { parents, void, .. } = self.due_children(now).await;
        let rows = void.len() + parents.iter().map(|parent| parent.rows.len()).sum::<usize>();
        let step = |parent: &DueParent| {
            if parent.nodes.is_empty() {
                let (execution, rows) = (parent.execution, parent.rows.clone());
                return ParentStep { execution, rows, nodes: Vec::new(), goes_on: false };
            }
            let now = counted(parent);
            let is_over = now.completed + now.failed == children;
            counting(parent, is_over.then(|| completed(parent.execution, 0)))
        };
        let (place, steps): (_, Arc<[ParentStep]>) =
            (Arc::clone(&self.place), parents.iter().map(step).collect());
        self.call(|store| async move { store.children_settle(&place, &steps, &void, Some(now)).await }).await;
        rows
    }

    async fn children_of(&self, id: ExecutionId) -> Vec<(ExecutionId, ExecutionStatus)> {
        let place = Arc::clone(&self.place);
        let list = ChildList { parent: id, node: None, after: None, limit: 10_000 };
        let children = self.call(|store| async move { store.children_list(&place, &list).await }).await;
        assert!(children.is_sorted_by_key(|child| (child.node, child.item)));
        children.into_iter().map(|child| (child.execution, child.status)).collect()
    }

    async fn sweep(&self, now: Timestamp) -> usize {
        self.settle(&[DueKind::Sweep], now).await.expired.len()
    }
}

pub async fn a_node_that_waits_for_children_is_looked_at_when_it_begins(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(1, &[1]), at(0)).await;
    assert!(world.due_children(at(9)).await.parents.is_empty());
    let plan = ChildrenPlan { total: 5, parallel: 2, tolerated: 1, abandons: false };
    world.begin_children(id, 0, plan, at(1)).await;
    assert!(world.settle(DueKind::ALL, at(1)).await.children);
    let due = world.due_parent(at(1)).await;
    assert_eq!((due.execution, due.is_paused, due.priority, due.rows.len()), (id, false, 4, 1));
    let node =
        ChildrenNode { node: 0, total: 5, parallel: 2, tolerated: 1, started: 0, completed: 0, failed: 0 };
    assert_eq!((&due.nodes[..], &due.ended[..]), (&[node][..], &[][..]));
    assert_eq!(world.header(id).await.status, ExecutionStatus::Waiting);
    assert_eq!(world.settle_children(starting(&due, 2), at(2)).await.done, 1);
    assert!(world.due_children(at(9)).await.parents.is_empty());
    let children = world.children_of(id).await;
    assert_eq!(children.len(), 2);
    let first = world.header(children[0].0).await;
    assert_eq!((first.status, first.created_at), (ExecutionStatus::Pending, at(2)));
    assert_eq!(world.states(children[1].0).await, [TaskState::Ready]);
}

pub async fn a_child_that_ends_has_its_parent_looked_at(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.parent_of(3, false, at(0)).await;
    let children = world.children_of(id).await;
    let claimed = runner.claim(10, at(1)).await;
    assert_eq!(claimed.len(), 3);
    let (one, two, three) = (children[0].0, children[1].0, children[2].0);
    runner.report(completed(one, 0), at(2)).await;
    runner.report(failed(two, 0, "broken"), at(3)).await;
    world.cancel(three, at(4)).await;
    let due = world.due_parent(at(5)).await;
    let mut ended: Vec<_> =
        due.ended.iter().map(|child| (child.item, child.status, child.error.as_deref())).collect();
    ended.sort_by_key(|(item, ..)| *item);
    assert_eq!(
        ended,
        [
            (0, ExecutionStatus::Completed, None),
            (1, ExecutionStatus::Failed, Some("broken")),
            (2, ExecutionStatus::Cancelled, Some("not wanted")),
        ]
    );
    let step = counting(&due, Some(failed(id, 0, "two of three")));
    let settled = world.settle_children(step, at(6)).await;
    assert_eq!((settled.done, settled.closed.len()), (1, 1));
    assert_eq!(world.header(id).await.status, ExecutionStatus::Failed);
    assert!(world.due_children(at(9)).await.parents.is_empty());
}

pub async fn what_children_came_to_is_counted_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let other = world.process().await;
    let runner = world.runner().await;
    let id = world.parent_of(2, false, at(0)).await;
    let children = world.children_of(id).await;
    runner.claim(10, at(1)).await;
    runner.report(completed(children[0].0, 0), at(2)).await;
    let (first, second) = (world.due_parent(at(3)).await, other.due_parent(at(3)).await);
    assert_eq!(other.settle_children(counting(&second, None), at(3)).await.done, 1);
    assert_eq!(world.settle_children(counting(&first, None), at(3)).await.done, 0);
    runner.report(completed(children[1].0, 0), at(4)).await;
    let due = world.due_parent(at(5)).await;
    assert_eq!((due.nodes[0].completed, due.ended.len()), (1, 1));
    // The row of the first is not there any more, whatever the counters say.
    let both =
        ParentStep { rows: first.rows.iter().chain(&due.rows).cloned().collect(), ..counting(&due, None) };
    assert_eq!(world.settle_children(both, at(5)).await.done, 0);
    let end = counting(&due, Some(completed(id, 0)));
    assert_eq!(world.settle_children(end.clone(), at(5)).await.closed.len(), 1);
    assert_eq!(world.settle_children(end, at(5)).await.done, 0);
}

pub async fn a_parent_whose_code_nobody_has_is_not_due_until_it_comes(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let parent = world.parent_of(2, false, at(0)).await;
    let children = world.children_of(parent).await;
    let runner = world.runner().await;
    let rests = async |time| {
        assert_eq!(world.overdue(&[], Duration::ZERO, at(time)).await, [(parent, key(WORKFLOW, 1))]);
        assert_eq!(
            world.control(parent, Control::Orphan, at(time)).await,
            Controlled::Done(ExecutionStatus::Paused)
        );
        assert_eq!(world.overdue(&[], Duration::ZERO, at(1_000)).await, []);
        assert_eq!(world.due_children(at(1_000)).await.parents.len(), 0);
    };
    // Its children end one after the other, before it is known that nobody has the parent's code and after.
    assert_eq!(runner.claim(2, at(5)).await.len(), 2);
    for (time, (child, _)) in [10, 20].into_iter().zip(children) {
        runner.report(completed(child, 0), at(time)).await;
        rests(time).await;
    }
    assert_eq!(world.lower(at(30)).await.earliest(), Some(NEVER), "nothing is to be looked at");
    world.resume(parent, at(40)).await;
    assert!(world.is_rung(at(40)).await, "nobody else would look");
    let due = world.due_parent(at(40)).await;
    assert_eq!(due.ended.len(), 2, "{due:?}");
    let counted = counting(&due, Some(completed(parent, 0)));
    assert_eq!(world.settle_children(counted, at(41)).await.done, 1);
    assert_eq!(world.header(parent).await.status, ExecutionStatus::Completed);
    assert_eq!(world.lower(at(42)).await.earliest(), None);
}

pub async fn a_parent_that_is_over_starts_no_child(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(1, &[]), at(0)).await;
    world.begin_children(id, 0, ONLY, at(0)).await;
    let due = world.due_parent(at(1)).await;
    world.cancel(id, at(2)).await;
    assert_eq!(world.settle_children(starting(&due, 1), at(3)).await.done, 0);
    assert!(world.children_of(id).await.is_empty());
    // The row that asked for it is void.
    let left = world.due_children(at(4)).await;
    assert!(left.parents.is_empty());
    let (place, void) = (Arc::clone(&world.place), left.void);
    assert_eq!(void.len(), 1);
    let none: Arc<[ParentStep]> = Arc::new([]);
    let settled = world
        .call(|store| async move { store.children_settle(&place, &none, &void, Some(at(4))).await })
        .await;
    assert_eq!(settled.voided, 1);
    assert!(world.due_children(at(5)).await.void.is_empty());
}

pub async fn a_paused_parent_counts_ends_and_starts_nothing(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.submit(waits(1, &[]), at(0)).await;
    let plan = ChildrenPlan { total: 2, parallel: 1, ..ONLY };
    world.begin_children(id, 0, plan, at(0)).await;
    let due = world.due_parent(at(1)).await;
    assert_eq!(world.settle_children(starting(&due, 1), at(1)).await.done, 1);
    let first = world.children_of(id).await[0].0;
    runner.claim(1, at(2)).await;
    runner.report(completed(first, 0), at(3)).await;
    let running = world.due_parent(at(3)).await;
    world.pause(id, at(4)).await;
    assert_eq!(world.settle_children(starting(&running, 1), at(5)).await.done, 0);
    let due = world.due_parent(at(5)).await;
    assert!(due.is_paused);
    assert_eq!(world.settle_children(counting(&due, None), at(6)).await.done, 1);
    assert!(world.due_children(at(7)).await.parents.is_empty());
    world.resume(id, at(8)).await;
    let due = world.due_parent(at(8)).await;
    assert_eq!((due.is_paused, due.nodes[0].completed), (false, 1));
    assert_eq!(world.settle_children(starting(&due, 1), at(9)).await.done, 1);
    assert_eq!(world.children_of(id).await.len(), 2);
}

pub async fn what_is_left_to_be_started_is_looked_at_again(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(1, &[]), at(0)).await;
    world.begin_children(id, 0, ChildrenPlan { total: 4, parallel: 4, ..ONLY }, at(0)).await;
    let step = ParentStep { goes_on: true, ..starting(&world.due_parent(at(0)).await, 3) };
    assert_eq!(world.settle_children(step, at(0)).await.done, 1);
    let due = world.due_parent(at(0)).await;
    assert_eq!((due.nodes[0].started, due.nodes[0].room()), (3, 1));
    let place = Arc::clone(&world.place);
    let set = world
        .call(|store| async move { store.children_parallel(&place, id, "w0", 2, None, Some(at(1))).await });
    assert!(set.await);
    assert_eq!(world.due_parent(at(1)).await.nodes[0].room(), 0);
    let place = Arc::clone(&world.place);
    let set = world
        .call(|store| async move { store.children_parallel(&place, id, "w1", 2, None, Some(at(1))).await });
    assert!(!set.await);
}

pub async fn the_open_children_of_an_execution_that_is_over_are_swept(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.parent_of(300, false, at(0)).await;
    let children = world.children_of(id).await;
    runner.claim(1, at(1)).await;
    assert_eq!(world.sweep(at(1)).await, 0);
    assert_eq!(world.cancel(id, at(2)).await, Controlled::Done(ExecutionStatus::Cancelled));
    let mut swept = 0;
    loop {
        match world.sweep(at(3)).await {
            0 => break,
            some => {
                assert!(some <= 256);
                swept += some;
            }
        }
    }
    assert_eq!(swept, 300);
    let children_now = world.children_of(id).await;
    assert!(children_now.iter().all(|(_, status)| *status == ExecutionStatus::Cancelled));
    let first = world.header(children[0].0).await;
    assert_eq!(first.error.as_deref(), Some("cancelled, because its parent has ended"));
    assert!(world.due_children(at(9)).await.parents.is_empty());
    assert_eq!(world.sweep(at(9)).await, 0);

    let id = world.parent_of(2, true, at(10)).await;
    world.cancel(id, at(11)).await;
    assert_eq!(world.sweep(at(12)).await, 0);
    assert!(world.children_of(id).await.iter().all(|(_, status)| *status == ExecutionStatus::Pending));
}

pub async fn a_sweep_goes_down_to_the_last_generation(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(1, &[]), at(0)).await;
    world.begin_children(id, 0, ONLY, at(0)).await;
    let mut step = starting(&world.due_parent(at(0)).await, 1);
    step.nodes[0].starts[0].execution = Arc::new(waits(1, &[]));
    world.settle_children(step, at(0)).await;
    let below = world.children_of(id).await[0].0;
    world.begin_children(below, 0, ONLY, at(1)).await;
    let step = starting(&world.due_parent(at(1)).await, 1);
    world.settle_children(step, at(1)).await;
    let last = world.children_of(below).await[0].0;
    world.cancel(id, at(2)).await;
    assert_eq!((world.sweep(at(3)).await, world.sweep(at(4)).await, world.sweep(at(5)).await), (1, 1, 0));
    assert_eq!(world.header(last).await.status, ExecutionStatus::Cancelled);
}

pub async fn a_node_whose_time_is_over_has_its_own_children_swept(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(waits(2, &[]), at(0)).await;
    for node in [0, 1] {
        world.begin_children(id, node, ONLY, at(0)).await;
    }
    let due = world.due_parent(at(0)).await;
    let starts = |was: &ChildrenNode| NodeStep {
        was: *was,
        now: ChildrenNode { started: 1, ..*was },
        starts: vec![child(0)],
        end: None,
    };
    let nodes = due.nodes.iter().map(starts).collect();
    let step = ParentStep { execution: id, rows: due.rows, nodes, goes_on: false };
    assert_eq!(world.settle_children(step, at(0)).await.done, 1);
    let place = Arc::clone(&world.place);
    let moved =
        world.call(|store| async move { store.wait_move(&place, id, "w1", None, None, Some(at(1))).await });
    assert!(moved.await);
    let outcome = Arc::new(Outcome { attempt: 0, ..failed(id, 1, "too late") });
    let end = WaitStep::End(WaitEnd { by: EndedBy::Time, outcome, sweeps: true });
    let (place, steps): (_, Arc<[WaitStep]>) = (Arc::clone(&world.place), [end].into());
    let done =
        world.call(|store| async move { store.wait_settle(&place, &steps, &[], Some(at(2))).await }).await;
    assert_eq!(done.done, 1);
    assert_eq!(world.sweep(at(3)).await, 1);
    let states: Vec<_> = world.children_of(id).await.into_iter().map(|(_, status)| status).collect();
    assert_eq!(states, [ExecutionStatus::Pending, ExecutionStatus::Cancelled]);
}

pub async fn children_are_left_out_where_executions_are_listed(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.parent_of(3, false, at(0)).await;
    let other = world.submit(claimed_or_ready(), at(1)).await;
    let list = |filter| ExecutionList { filter, before: None, limit: 10 };
    assert_eq!(world.list(list(ExecutionFilter::all())).await, [other, id]);
    let pending = ExecutionFilter::all().status(ExecutionStatus::Pending);
    assert_eq!(world.list(list(pending)).await, [other]);
    assert_eq!(world.list(list(ExecutionFilter::all().workflow(WORKFLOW))).await, [other, id]);
    let place = Arc::clone(&world.place);
    let progress = world.call(|store| async move { store.children_progress(&place, id).await }).await;
    assert_eq!((progress.len(), progress[0].name.as_str(), progress[0].node.started), (1, "w0", 3));
    let place = Arc::clone(&world.place);
    let after = ChildList { parent: id, node: Some(0), after: Some((0, 0)), limit: 1 };
    let page = world.call(|store| async move { store.children_list(&place, &after).await }).await;
    assert_eq!((page.len(), page[0].item), (1, 1));
}

fn claimed_or_ready() -> NewExecution {
    NewExecution { claimed: Vec::new(), ..claimed_draft(1) }
}

pub async fn a_tree_is_deleted_when_its_root_has_ended_and_nothing_in_it_is_open(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = world.parent_of(3, true, at(0)).await;
    let children = world.children_of(id).await;
    runner.claim(2, at(1)).await;
    for (child, _) in &children[..2] {
        runner.report(completed(*child, 0), at(2)).await;
    }
    // Its children ended long ago, and it has not.
    assert_eq!(world.prune(at(1_000), 100).await, 0);
    world.cancel(id, at(1_000)).await;
    prune_all(&world, at(2_000)).await;
    assert!(!world.headers(&[id]).await.is_empty(), "one of its children is open");
    world.cancel(children[2].0, at(2_000)).await;
    prune_all(&world, at(2_001)).await;
    let all: Vec<_> = children.iter().map(|(child, _)| *child).chain([id]).collect();
    assert!(world.headers(&all).await.is_empty());
}

/// How many orders are tried.
fn orders() -> u64 {
    let said = std::env::var("CLOACINA_ORDERS");
    said.map_or(100, |number| number.parse().expect("CLOACINA_ORDERS is a number"))
}

pub async fn ends_and_cancels_in_a_tree_come_in_any_order_without_a_deadlock(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runners = [world.runner().await, world.process().await.runner().await];
    for seed in 0..orders() {
        let tried = tokio::spawn(any_order(seed, runners.clone())).await;
        tried.unwrap_or_else(|error| panic!("the order of seed {seed} went wrong: {error}"));
    }
}

/// Has four children of an execution end while all of them, or some, are cancelled, and whoever looks after
/// them does so.
async fn any_order(seed: u64, runners: [Runner; 2]) {
    const CHILDREN: i64 = 4;
    let (mut rng, now) = (Rng::with_seed(seed), at(i64::try_from(seed).expect("there are not so many")));
    let processes = [&runners[0].process, &runners[1].process];
    let id = processes[0].parent_of(CHILDREN, false, now).await;
    let children: Vec<ExecutionId> =
        processes[0].children_of(id).await.into_iter().map(|(id, _)| id).collect();
    let mut actions: Vec<BoxFuture<'static, ()>> = Vec::new();
    for runner in runners.clone() {
        let mut held = runner.claim(2, now).await;
        rng.shuffle(&mut held);
        let mut flushes = vec![held];
        if rng.bool() {
            let rest = flushes[0].split_off(1);
            flushes.push(rest);
        }
        for held in flushes {
            let ends = held.into_iter().map(|held| completed(held.execution, 0));
            let flush = runner.batch(now).outcomes(ends);
            actions.push(Box::pin(async move { drop(flush.write().await) }));
        }
    }
    let any = |rng: &mut Rng| processes[rng.usize(0..2)].clone();
    for cancelled in [id, children[rng.usize(0..children.len())]] {
        let process = any(&mut rng);
        actions.push(Box::pin(async move {
            process.cancel(cancelled, now).await;
        }));
    }
    for _ in 0..2 {
        let (sweeps, counts) = (any(&mut rng), any(&mut rng));
        actions.push(Box::pin(async move {
            sweeps.sweep(now).await;
        }));
        actions.push(Box::pin(async move {
            counts.count_ends(CHILDREN, now).await;
        }));
    }
    rng.shuffle(&mut actions);
    for action in actions.into_iter().map(tokio::spawn).collect::<Vec<_>>() {
        action.await.expect("it goes on to its end");
    }
    while processes[0].count_ends(CHILDREN, now).await + processes[1].sweep(now).await > 0 {}
    for header in processes[0].headers(&[&[id][..], &children].concat()).await {
        assert!(header.status.is_terminal(), "{header:?}");
    }
}

async fn prune_all(world: &Process, before: Timestamp) {
    while world.prune(before, 100).await > 0 {}
}
