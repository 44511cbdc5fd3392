//! In which order a lane writes.

use std::sync::Arc;

use super::world::World;
use crate::hub::batch::{PlaceBatch, Queued};
use crate::hub::rounds::Rounds;
use crate::id::TenantId;

/// So many new executions of a place of its own.
fn batch(executions: usize) -> PlaceBatch {
    let world = World::new();
    let mut process = world.process();
    for _ in 0..executions {
        process.submit(&world, 1, false, true);
    }
    std::mem::replace(&mut process.waiting, PlaceBatch::new(Arc::clone(&process.place)))
}

fn rounds(batches: impl IntoIterator<Item = PlaceBatch>) -> Rounds {
    let mut rounds = Rounds::default();
    rounds.add(batches.into_iter().map(Queued::Batch));
    rounds
}

/// How many transitions of whom are in which flush.
fn sizes(round: &[Vec<PlaceBatch>]) -> Vec<Vec<(TenantId, usize)>> {
    let of = |batch: &PlaceBatch| (batch.place.place.tenant, batch.len());
    round.iter().map(|flush| flush.iter().map(of).collect()).collect()
}

#[test]
fn whoever_has_little_to_do_comes_before_bulk_that_came_earlier() {
    let (bulk, one, other) = (batch(1_600), batch(3), batch(5));
    let [loud, first, second] = [&bulk, &one, &other].map(|batch| batch.place.place.tenant);
    let mut rounds = rounds([bulk, one, other]);
    let round = rounds.next(|_| false);
    assert_eq!(sizes(&round), [vec![(first, 3), (second, 5)], vec![(loud, 1_000)]]);
    assert_eq!(sizes(&rounds.next(|_| false)), [vec![(loud, 600)]]);
    assert!(rounds.is_empty());
}

#[test]
fn bulk_that_nobody_waits_for_goes_in_large_flushes() {
    let bulk = batch(1_500);
    let loud = bulk.place.place.tenant;
    let mut rounds = rounds([bulk]);
    assert_eq!(sizes(&rounds.next(|_| false)), [vec![(loud, 1_000)]]);
    assert_eq!(sizes(&rounds.next(|_| false)), [vec![(loud, 500)]]);
}

#[test]
fn two_with_much_to_do_take_turns() {
    let (one, other) = (batch(1_500), batch(1_200));
    let [first, second] = [&one, &other].map(|batch| batch.place.place.tenant);
    let mut rounds = rounds([one, other]);
    let flushes: Vec<_> = std::iter::from_fn(|| sizes(&rounds.next(|_| false)).pop()).collect();
    assert_eq!(flushes, [vec![(first, 1_000)], vec![(second, 1_000)], vec![(first, 500), (second, 200)]]);
}

#[test]
fn whoever_may_keep_others_waiting_is_flushed_alone_and_after_them() {
    let (slow, quick, slow_bulk) = (batch(1), batch(1), batch(300));
    let [first, second, third] = [&slow, &quick, &slow_bulk].map(|batch| batch.place.place.tenant);
    let mut rounds = rounds([slow, quick, slow_bulk]);
    let round = rounds.next(|batch| batch.place.place.tenant != second);
    assert_eq!(sizes(&round), [vec![(second, 1)], vec![(first, 1)], vec![(third, 300)]]);
}

#[test]
fn nothing_is_lost_or_doubled_whatever_comes_in_whichever_order() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut rounds = Rounds::default();
    let (mut came, mut went) = (0, Vec::new());
    let batches: Vec<_> = (0..40).map(|_| batch(rng.usize(1..400))).collect();
    let mut batches = batches.into_iter();
    loop {
        let some: Vec<_> = batches.by_ref().take(rng.usize(0..6)).collect();
        came += some.iter().map(PlaceBatch::len).sum::<usize>();
        rounds.add(some.into_iter().map(Queued::Batch));
        let round = rounds.next(|batch| batch.place.place.tenant.0.as_u128() % 3 == 0);
        went.extend(
            round.into_iter().flatten().flat_map(|batch| batch.submits).map(|submit| submit.execution.id),
        );
        if batches.len() == 0 && rounds.is_empty() {
            break;
        }
    }
    assert_eq!(went.len(), came);
    went.sort_unstable();
    went.dedup();
    assert_eq!(went.len(), came);
}
