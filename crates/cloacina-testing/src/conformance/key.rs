//! Keys, and the sessions made from them.

use std::time::Duration;

use cloacina_core::store::{KeyHash, KeyId, KeyList, KeyRecord, KeyRefusal, NewKey};
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, World, at};

fn new_key(name: &str) -> NewKey {
    NewKey {
        id: KeyId::new(),
        hash: KeyHash([7; 32]),
        parent: None,
        tenant: None,
        role: "viewer".to_owned(),
        payloads: false,
        name: name.to_owned(),
        created_by: "ada".to_owned(),
        expires_at: None,
    }
}

fn session_of(key: &NewKey) -> NewKey {
    NewKey { parent: Some(key.id), tenant: key.tenant.clone(), ..new_key("session") }
}

impl Process {
    async fn keep(&self, key: &NewKey, now: Timestamp) -> Result<Timestamp, KeyRefusal> {
        let key = key.clone();
        self.call(|store| async move { store.key_insert(&key, None, Some(now)).await }).await
    }

    async fn key(&self, id: KeyId, now: Timestamp) -> Option<KeyRecord> {
        self.call(|store| async move { store.key_find(id, Some(now)).await }).await
    }

    async fn lets_in(&self, id: KeyId, now: Timestamp) -> bool {
        self.key(id, now).await.is_some()
    }

    async fn keys(&self, tenant: Option<&str>, after: Option<KeyId>, limit: usize) -> Vec<KeyId> {
        let list = KeyList { tenant: tenant.map(str::to_owned), after, limit };
        let keys = self.call(|store| async move { store.key_list(&list).await }).await;
        keys.iter().map(|key| key.id).collect()
    }

    async fn forget_key(&self, id: KeyId) -> bool {
        self.call(|store| async move { store.key_delete(id, None, None).await }).await
    }

    async fn use_keys(&self, ids: &[KeyId], now: Timestamp) {
        let ids = ids.to_vec();
        self.call(|store| async move { store.key_used(&ids, Some(now)).await }).await;
    }

    async fn prune_keys(&self, now: Timestamp) -> u64 {
        self.call(|store| async move { store.key_prune(Some(now)).await }).await
    }
}

pub async fn a_key_is_kept_as_it_is_and_found_by_every_process(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let tenant = Some(world.place.name.clone());
    let new = NewKey { tenant, payloads: true, expires_at: Some(at(9_000)), ..new_key("Grüße, \u{1F980}") };
    assert_eq!(world.keep(&new, at(1)).await, Ok(at(1)));
    // As after a lost answer.
    assert_eq!(world.keep(&new, at(2)).await, Ok(at(1)));
    let found = world.process().await.key(new.id, at(3)).await.expect("it is there");
    let KeyRecord {
        id,
        hash,
        parent,
        tenant,
        role,
        payloads,
        name,
        created_at,
        created_by,
        expires_at,
        last_used_at,
    } = found;
    assert_eq!((id, hash, parent, tenant), (new.id, new.hash, None, new.tenant.clone()));
    assert_eq!(
        (role, payloads, name, created_by),
        (new.role.clone(), true, new.name.clone(), new.created_by.clone())
    );
    assert_eq!((created_at, expires_at, last_used_at), (at(1), Some(at(9_000)), None));
    let other = NewKey { hash: KeyHash([8; 32]), ..new };
    assert_eq!(world.keep(&other, at(2)).await, Err(KeyRefusal::Taken));
    assert!(!world.lets_in(KeyId::new(), at(2)).await);
}

pub async fn a_key_is_for_a_tenant_that_there_is(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let new = NewKey { tenant: Some("nobody".to_owned()), ..new_key("n") };
    assert_eq!(world.keep(&new, at(1)).await, Err(KeyRefusal::NoTenant));
    assert!(!world.lets_in(new.id, at(1)).await);
}

pub async fn a_session_goes_with_its_key(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (key, other) = (new_key("key"), new_key("other"));
    for key in [&key, &other] {
        world.keep(key, at(1)).await.expect("it is kept");
    }
    let (first, second, others) = (session_of(&key), session_of(&key), session_of(&other));
    for session in [&first, &second, &others] {
        assert_eq!(world.keep(session, at(2)).await, Ok(at(2)));
    }
    assert_eq!(world.key(first.id, at(3)).await.expect("it is there").parent, Some(key.id));
    assert!(world.forget_key(first.id).await);
    assert!(!world.forget_key(first.id).await);
    assert!(world.lets_in(key.id, at(3)).await && world.lets_in(second.id, at(3)).await);
    assert!(world.forget_key(key.id).await);
    for (id, is_there) in [(key.id, false), (second.id, false), (other.id, true), (others.id, true)] {
        assert_eq!(world.lets_in(id, at(3)).await, is_there);
    }
}

pub async fn a_session_is_made_from_a_good_key_of_its_tenant(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let tenant = Some(world.place.name.clone());
    let operators = new_key("operator's");
    let tenants = NewKey { tenant: tenant.clone(), ..new_key("tenant's") };
    let expired = NewKey { expires_at: Some(at(5)), ..new_key("expired") };
    for key in [&operators, &tenants, &expired] {
        world.keep(key, at(1)).await.expect("it is kept");
    }
    let session = session_of(&operators);
    world.keep(&session, at(6)).await.expect("it is kept");
    let narrower = NewKey { tenant, ..session_of(&operators) };
    assert_eq!(world.keep(&narrower, at(6)).await, Ok(at(6)));
    let wider = NewKey { tenant: None, ..session_of(&tenants) };
    let of_nothing = session_of(&new_key("nothing"));
    for refused in [wider, session_of(&expired), session_of(&session), of_nothing] {
        assert_eq!(world.keep(&refused, at(6)).await, Err(KeyRefusal::NoParent));
    }
}

pub async fn what_is_expired_lets_nobody_in(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let key = NewKey { expires_at: Some(at(10)), ..new_key("key") };
    let short = NewKey { expires_at: Some(at(5)), ..session_of(&key) };
    let long = NewKey { expires_at: Some(at(20)), ..session_of(&key) };
    for new in [&key, &short, &long] {
        world.keep(new, at(1)).await.expect("it is kept");
    }
    let let_in = async |now| {
        let mut let_in = Vec::new();
        for id in [key.id, short.id, long.id] {
            let_in.push(world.lets_in(id, now).await);
        }
        let_in
    };
    assert_eq!(let_in(at(4)).await, [true, true, true]);
    assert_eq!(let_in(at(5)).await, [true, false, true]);
    assert_eq!(let_in(at(10)).await, [false, false, false]);
    assert_eq!(world.keys(None, None, 10).await, [key.id], "it is listed all the same");
}

pub async fn keys_are_listed_page_by_page_without_sessions(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let tenant = world.place.name.clone();
    let (mut all, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..7 {
        let is_theirs = number % 2 == 0;
        let key = NewKey { tenant: is_theirs.then(|| tenant.clone()), ..new_key("key") };
        world.keep(&key, at(1)).await.expect("it is kept");
        world.keep(&session_of(&key), at(1)).await.expect("it is kept");
        all.push(key.id);
        if is_theirs {
            theirs.push(key.id);
        }
    }
    all.sort_unstable();
    theirs.sort_unstable();
    for (tenant, wanted) in [(None, all), (Some(tenant.as_str()), theirs), (Some("nobody"), Vec::new())] {
        let mut listed: Vec<KeyId> = Vec::new();
        loop {
            let page = world.keys(tenant, listed.last().copied(), 3).await;
            listed.extend(&page);
            if page.len() < 3 {
                break;
            }
        }
        assert_eq!(listed, wanted);
    }
}

pub async fn the_use_of_keys_is_noted_once_a_minute(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let keys = [new_key("one"), new_key("two"), new_key("three")];
    for key in &keys {
        world.keep(key, at(0)).await.expect("it is kept");
    }
    let [one, two, three] = keys.map(|key| key.id);
    let minute = Duration::from_secs(60);
    world.use_keys(&[one, KeyId::new()], at(0)).await;
    world.use_keys(&[two, one], at(0) + minute / 2).await;
    world.use_keys(&[one], at(0) + minute).await;
    let mut last = Vec::new();
    for id in [one, two, three] {
        last.push(world.key(id, at(0)).await.expect("it is there").last_used_at);
    }
    assert_eq!(last, [Some(at(0) + minute), Some(at(0) + minute / 2), None]);
    // The clock was set back.
    world.use_keys(&[one], at(0)).await;
    assert_eq!(world.key(one, at(0)).await.expect("it is there").last_used_at, Some(at(0)));
}

pub async fn sessions_that_are_not_good_any_more_are_pruned(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let (key, short) = (new_key("key"), NewKey { expires_at: Some(at(5)), ..new_key("short") });
    let stays = session_of(&key);
    let expired = NewKey { expires_at: Some(at(5)), ..session_of(&key) };
    let of_expired = session_of(&short);
    for new in [&key, &short, &stays, &expired, &of_expired] {
        world.keep(new, at(1)).await.expect("it is kept");
    }
    assert_eq!(world.prune_keys(at(4)).await, 0);
    assert_eq!(world.prune_keys(at(5)).await, 2);
    assert_eq!(world.prune_keys(at(5)).await, 0);
    assert!(world.lets_in(stays.id, at(6)).await);
    assert_eq!(world.keys(None, None, 10).await.len(), 2, "keys stay until somebody deletes them");
}
