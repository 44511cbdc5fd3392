//! The doorbell.

use std::sync::Arc;

use cloacina_core::store::{NewExecution, NextDue};

use super::Fixture;
use super::process::{World, at, claimed_draft, draft, key};

pub async fn a_place_without_work_has_a_silent_bell(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    assert_eq!(
        world.lower(at(0)).await,
        NextDue { now: at(0), work: None, due: None, unknown: None, unexpanded: false }
    );
    let bells = world.bells(at(1_000_000)).await;
    assert!(bells.due.is_empty() && bells.notices.is_empty());
}

pub async fn lowering_tells_the_earliest_work_and_deadline(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    for (start, deadline) in [(300, None), (100, Some(at(5_000))), (200, Some(at(4_000)))] {
        let new = NewExecution { start_at: Some(at(start)), deadline, ..draft(&[0, 0]) };
        world.submit(new, at(0)).await;
    }
    let expected =
        NextDue { now: at(1), work: Some(at(100)), due: Some(at(4_000)), unknown: None, unexpanded: false };
    assert_eq!(world.lower(at(1)).await, expected);
    assert!(!world.is_rung(at(99)).await);
    assert!(world.is_rung(at(100)).await);
}

pub async fn a_lowered_bell_is_silent_until_the_next_ring(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    world.submit(draft(&[0]), at(0)).await;
    runner.claim(10, at(1)).await;
    assert_eq!(world.lower(at(2)).await.work, None);
    assert!(!world.is_rung(at(1_000_000)).await);
    world.submit(draft(&[0]), at(3)).await;
    assert!(world.is_rung(at(3)).await);
    assert_eq!(world.lower(at(4)).await.work, Some(at(3)), "work that is due keeps the bell up");
    assert!(world.is_rung(at(4)).await);
}

pub async fn a_later_ring_does_not_put_off_an_earlier_one(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    for start in [500, 100, 900] {
        world.submit(NewExecution { start_at: Some(at(start)), ..draft(&[0]) }, at(0)).await;
    }
    assert!(!world.is_rung(at(99)).await);
    assert!(world.is_rung(at(100)).await);
}

/// Whoever can run it must hear of it, so the bell knows no filter.
pub async fn the_bell_rings_for_work_that_nobody_here_can_run(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    world.submit(NewExecution { workflow: key("elsewhere", 1), ..draft(&[0]) }, at(0)).await;
    assert_eq!(runner.claim(10, at(1)).await, []);
    assert_eq!(world.lower(at(1)).await.work, Some(at(0)));
    assert!(world.process().await.is_rung(at(1)).await);
}

pub async fn claimed_work_does_not_ring(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    runner.submit(claimed_draft(3), at(0)).await;
    assert!(!world.is_rung(at(1)).await, "nobody is called for what its runner does anyway");
}

/// Ringing and lowering at the same moment: whatever is in the ready table at the end, the bell is not later.
pub async fn a_ring_is_not_lost_to_a_lowering(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let lowering = world.process().await;
    for _ in 0..20 {
        let (ringer, lowerer) = ((*world).clone(), lowering.clone());
        let ring = tokio::spawn(async move { ringer.submit(draft(&[0]), at(0)).await });
        let lower = tokio::spawn(async move { lowerer.lower(at(0)).await });
        ring.await.expect("the execution is recorded");
        lower.await.expect("the bell is lowered");
        assert!(world.is_rung(at(0)).await, "there is work and the bell says so");
        let runner = world.runner().await;
        assert_eq!(runner.claim(10, at(0)).await.len(), 1);
        assert_eq!(world.lower(at(0)).await.work, None);
        assert!(!world.is_rung(at(0)).await);
        // A runner that is no more keeps the list of runners short.
        world.retire(runner.id).await;
    }
}

/// Many ringers at once do not keep each other from ringing.
pub async fn many_ring_at_once(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let mut ringers = Vec::new();
    for number in 0..4 {
        let process = world.process().await;
        ringers.push(tokio::spawn(async move {
            for round in 0..10 {
                let start_at = Some(at(1_000 - 100 * number - round));
                let new = (0..3).map(|_| Arc::new(NewExecution { start_at, ..draft(&[0]) }));
                process.batch(at(0)).submits(new).write().await;
            }
        }));
    }
    for ringer in ringers {
        ringer.await.expect("the executions are recorded");
    }
    let earliest = at(1_000 - 100 * 3 - 9);
    assert!(world.is_rung(earliest).await);
    assert_eq!(world.lower(at(0)).await.work, Some(earliest));
}
