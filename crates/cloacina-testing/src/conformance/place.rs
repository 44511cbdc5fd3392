//! Places: where a tenant's rows are.

use std::sync::Arc;

use cloacina_core::execution::{ExecutionStatus, TaskState};
use cloacina_core::id::TenantId;
use cloacina_core::store::{
    Claim, Controlled, Flush, Idempotency, NewExecution, Outcome, Place, PlaceFlush, StoreErrorKind,
    TenantStatus,
};

use super::Fixture;
use super::process::{Process, Runner, WORKFLOW, World, at, claimed_draft, completed, draft, key};

pub async fn a_place_opened_twice_is_the_same(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(draft(&[0]), at(0)).await;
    let name = fixture.places().into_iter().next().expect("a fixture has a place");
    assert_eq!(world.visit(name).await.place, world.place);
    let other = world.process().await;
    assert_eq!(other.place, world.place);
    assert_eq!(other.load(id).await.header.id, id, "opening changes nothing that is there");
}

pub async fn a_fresh_place_opened_at_once_by_several_is_one(fixture: &impl Fixture) {
    let database = fixture.create().await;
    let mut opening = Vec::new();
    for _ in 0..4 {
        let store = fixture.open(&database).await;
        let name = fixture.places().into_iter().next().expect("a fixture has a place");
        opening.push(tokio::spawn(Process::in_place(store, name)));
    }
    let mut places = Vec::new();
    for process in opening {
        let process = process.await.expect("opening ends").expect("each of them succeeds");
        process.submit(draft(&[0]), at(0)).await;
        places.push(process.place);
    }
    assert!(places.iter().all(|place| *place == places[0]), "all of them opened the same: {places:?}");
    let runner = Process::open(fixture, &database).await.runner().await;
    assert_eq!(runner.claim(10, at(0)).await.len(), 4);
}

/// The parts of one flush, for each place.
fn flush(runner: &Runner, parts: Vec<PlaceFlush>) -> Flush {
    Flush { runner: Some(runner.id), now: Some(at(1)), places: parts }
}

fn part(place: &Arc<Place>, new: NewExecution, outcomes: Vec<Outcome>) -> PlaceFlush {
    PlaceFlush {
        place: Arc::clone(place),
        first_claim: true,
        submits: vec![Arc::new(new)],
        timed: outcomes.iter().map(|outcome| outcome.execution).collect(),
        related: outcomes.iter().map(|outcome| outcome.execution).collect(),
        outcomes: outcomes.into_iter().map(Arc::new).collect(),
        claim: Some(Claim { limit: 10, workflows: [key(WORKFLOW, 1)].into() }),
    }
}

/// The processes of every place the fixture names.
async fn everywhere<F: Fixture>(fixture: &F, world: &World<'_, F>) -> Vec<Process> {
    let mut processes = Vec::new();
    for name in fixture.places() {
        processes.push(world.visit(name).await);
    }
    processes
}

pub async fn one_flush_may_write_in_several_places(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let places = everywhere(fixture, &world).await;
    let runner = world.runner().await;
    let mut submitted = Vec::new();
    for process in &places {
        let news = [claimed_draft(1), draft(&[0])];
        submitted.push([news[0].id, news[1].id]);
        let [claimed, ready] = news;
        let mut part = part(&process.place, claimed, Vec::new());
        part.claim = None;
        part.submits.push(Arc::new(ready));
        process.flush(flush(&runner, vec![part])).await.expect("the flush succeeds");
    }
    let parts = places.iter().zip(&submitted).map(|(process, [claimed, _])| PlaceFlush {
        first_claim: false,
        ..part(&process.place, draft(&[1]), vec![completed(*claimed, 0)])
    });
    // The caller's order is not the order of tenants.
    let mut parts: Vec<_> = parts.collect();
    parts.reverse();
    let flushed = world.flush(flush(&runner, parts)).await.expect("the flush succeeds");
    assert_eq!(flushed.places.len(), places.len());
    for ((process, [claimed, ready]), done) in places.iter().zip(submitted).zip(flushed.places.iter().rev()) {
        assert_eq!(done.closed.iter().map(|closed| closed.execution).collect::<Vec<_>>(), [claimed]);
        assert_eq!(done.claimed.iter().map(|task| task.execution).collect::<Vec<_>>(), [ready]);
        assert_eq!(process.states(ready).await, [TaskState::Running]);
        assert_eq!(process.held(runner.id).await.len(), 1);
    }
    runner.condemn().await;
    let mut rescued: Vec<_> = world.rescue(runner.id, at(2)).await.into_iter().map(|one| one.place).collect();
    let mut expected: Vec<_> = places.iter().map(|process| (*process.place).clone()).collect();
    rescued.sort_unstable_by_key(|place| place.tenant);
    expected.sort_unstable_by_key(|place| place.tenant);
    assert_eq!(rescued, expected, "a rescue finds every place of its runner");
    let due = world.bells(at(2)).await.due;
    assert!(places.iter().all(|process| due.iter().any(|due| due.tenant == process.place.tenant)));
}

pub async fn an_error_in_one_place_aborts_the_flush(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let runner = world.runner().await;
    let id = runner.submit(NewExecution { claimed: vec![0], ..draft(&[0, 1]) }, at(0)).await;
    let ready = world.submit(draft(&[0]), at(0)).await;
    let new = claimed_draft(1);
    let new_id = new.id;
    let good = part(&world.place, new, vec![Outcome { successors: vec![(1, true)], ..completed(id, 0) }]);
    // The last in the order of tenants, so that the good part is written before it fails.
    let nowhere = Place {
        tenant: TenantId(uuid::Uuid::max()),
        name: "nowhere_at_all".to_owned(),
        schema: "nowhere_at_all".to_owned(),
        epoch: 1,
        shared: false,
    };
    let bad = part(&Arc::new(nowhere), claimed_draft(1), Vec::new());
    let error = world.flush(flush(&runner, vec![good, bad])).await.expect_err("there is no such place");
    if fixture.places().len() > 1 {
        // The engine sorts out by this kind which of the places has to go alone.
        assert_eq!(error.kind(), StoreErrorKind::Place);
    }
    assert_eq!(world.load_all(&[new_id]).await.len(), 0);
    assert_eq!(world.states(id).await, [TaskState::Running, TaskState::Pending]);
    assert_eq!(world.states(ready).await, [TaskState::Ready]);
}

pub async fn places_do_not_see_each_other(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let places = everywhere(fixture, &world).await;
    let [one, two, ..] = &places[..] else {
        // A store with one place has nobody to hide from.
        return;
    };
    assert_ne!(one.place.tenant, two.place.tenant);
    let key = Idempotency { key: "order-1".to_owned(), input_hash: 1 };
    let keyed = || NewExecution { idempotency: Some(key.clone()), ..draft(&[0]) };
    let id = one.submit(keyed(), at(0)).await;
    assert!(!two.is_rung(at(1)).await);
    assert_eq!(two.load_all(&[id]).await.len(), 0);
    assert_eq!(two.headers(&[id]).await.len(), 0);
    assert_eq!(two.attempts(id).await, None);
    assert_eq!(two.find(WORKFLOW, "order-1").await, None);
    assert_eq!(two.cancel(id, at(1)).await, Controlled::NotFound);
    assert_eq!(two.lower(at(1)).await.work, None);
    let runner = two.runner().await;
    assert_eq!(runner.claim(10, at(1)).await, []);
    let theirs = two.submit(keyed(), at(1)).await;
    assert_ne!(theirs, id, "a key counts within its place");
    assert_eq!(one.header(id).await.status, ExecutionStatus::Pending);
    assert_eq!(one.prune(at(1_000), 10).await, 0);
}

pub async fn the_place_of_a_tenant_is_found_without_its_name(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(draft(&[0]), at(0)).await;
    // As a process finds it that never opened it: by what its bell says.
    let other = world.process().await;
    let due = other.bells(at(0)).await.due;
    let [due] = &due[..] else { panic!("one bell is due: {due:?}") };
    assert_eq!(other.place_of(due.tenant).await.as_ref(), Some(&*world.place));
    assert_eq!(other.place_of(TenantId::new()).await, None);
    assert_eq!(other.load(id).await.header.id, id);
}

pub async fn a_tenant_of_whom_nothing_was_decided_may_work_without_limits(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    assert_eq!(world.status().await, TenantStatus::default());
    assert_eq!(world.bells(at(0)).await.changed, []);
}
