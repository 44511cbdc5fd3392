//! Single decisions of the kernel.

use super::world::{Process, World, at};
use crate::execution::ExecutionStatus;
use crate::store::{Control, TaskOutcome};

/// A process that knows of no work.
fn begun() -> (World, Process) {
    let mut world = World::new();
    let mut process = world.process();
    process.claim(1);
    process.commit(&mut world);
    (world, process)
}

#[test]
fn the_first_task_of_a_new_execution_runs_at_once_where_a_slot_is_free() {
    let (mut world, mut process) = begun();
    let id = process.submit(&world, 1, true, true);
    process.commit(&mut world);
    assert!(process.running.contains_key(&(id, 0, 1)));
    let state = process.place.state();
    assert!(state.work.holds(id) && state.waiters.contains(id));
    assert_eq!(state.waiters.next_poll(), None, "what runs here is not asked for");
}

#[test]
fn the_slot_of_a_task_goes_on_to_its_successor() {
    let (mut world, mut process) = begun();
    let id = process.submit(&world, 1, true, true);
    for task in 0..3 {
        process.commit(&mut world);
        assert_eq!(process.place.slots.used(), 1);
        process.end((id, task, 1), TaskOutcome::Completed { patch: None });
    }
    process.commit(&mut world);
    assert_eq!(process.place.slots.used(), 0);
    let result = process.waiters[0].result().expect("it is over");
    assert_eq!(result.end_time, Some(at(world.now)));
}

#[test]
fn a_claim_whose_answer_was_lost_is_adopted() {
    let mut world = World::new();
    let mut process = world.process();
    let id = process.submit(&world, 1, false, true);
    process.commit(&mut world);
    process.claim(1);
    process.flush(&mut world);
    process.lose_the_answer(&mut world);
    assert!(process.running.is_empty());
    process.audit(&mut world);
    assert!(process.running.contains_key(&(id, 0, 1)));
}

#[test]
fn what_another_process_took_back_is_let_go() {
    let (mut world, mut process) = begun();
    let id = process.submit(&world, 1, true, true);
    process.commit(&mut world);
    world.rescue(process.runner());
    process.audits.insert(id);
    process.audit(&mut world);
    assert!(process.running.is_empty() && process.place.state().is_idle());
    assert!(process.place.state().waiters.next_poll().is_some(), "who waits is told by whoever runs it now");
}

#[test]
fn an_outcome_that_found_its_row_changed_is_audited() {
    let (mut world, mut process) = begun();
    let id = process.submit(&world, 1, true, false);
    process.commit(&mut world);
    world.control(id, &Control::Cancel { reason: "why not".to_owned() });
    process.end((id, 0, 1), TaskOutcome::Completed { patch: None });
    process.commit(&mut world);
    assert!(process.audits.contains(&id));
    assert!(process.place.state().is_idle());
}

#[test]
fn a_handle_remembers_an_end_that_nobody_waited_for() {
    let (mut world, mut process) = begun();
    let id = process.submit(&world, 1, true, false);
    for task in 0..3 {
        process.commit(&mut world);
        assert!(process.handles[0].1.get().is_none());
        process.end((id, task, 1), TaskOutcome::Completed { patch: None });
    }
    process.commit(&mut world);
    let result = process.handles[0].1.get().and_then(|ended| ended.result()).expect("it is remembered");
    assert_eq!(result.status, ExecutionStatus::Completed);
    assert!(process.place.state().work.live.is_empty(), "only the handle keeps it");
}
