//! Keys, as every store keeps them.

use std::collections::BTreeMap;
use std::time::Duration;

use cloacina_core::store::{KeyId, KeyList, KeyRecord, KeyRefusal, NewKey};
use jiff::Timestamp;

#[derive(Default)]
pub(super) struct Keys(BTreeMap<KeyId, KeyRecord>);

fn is_good(key: &KeyRecord, now: Timestamp) -> bool {
    key.expires_at.is_none_or(|expires_at| expires_at > now)
}

impl Keys {
    pub(super) fn insert(&mut self, new: &NewKey, now: Timestamp) -> Result<Timestamp, KeyRefusal> {
        if let Some(parent) = new.parent {
            let parent = self.0.get(&parent).filter(|key| key.parent.is_none() && is_good(key, now));
            if parent.is_none_or(|key| key.tenant.is_some() && key.tenant != new.tenant) {
                return Err(KeyRefusal::NoParent);
            }
        }
        if let Some(there) = self.0.get(&new.id) {
            return if there.hash == new.hash { Ok(there.created_at) } else { Err(KeyRefusal::Taken) };
        }
        let NewKey { id, hash, parent, tenant, role, payloads, name, created_by, expires_at } = new.clone();
        let (created_at, last_used_at) = (now, None);
        let key = KeyRecord {
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
        };
        self.0.insert(new.id, key);
        Ok(now)
    }

    /// Whether it is good, and its key is if it is a session.
    fn lets_in(&self, key: &KeyRecord, now: Timestamp) -> bool {
        let parent = key.parent.is_none_or(|parent| self.0.get(&parent).is_some_and(|key| is_good(key, now)));
        parent && is_good(key, now)
    }

    pub(super) fn find(&self, id: KeyId, now: Timestamp) -> Option<KeyRecord> {
        self.0.get(&id).filter(|key| self.lets_in(key, now)).cloned()
    }

    pub(super) fn list(&self, list: &KeyList) -> Vec<KeyRecord> {
        let wanted = |key: &&KeyRecord| {
            key.parent.is_none()
                && list.after.is_none_or(|after| key.id > after)
                && (list.tenant.is_none() || key.tenant == list.tenant)
        };
        self.0.values().filter(wanted).take(list.limit).cloned().collect()
    }

    pub(super) fn is_there(&self, id: KeyId) -> bool {
        self.0.contains_key(&id)
    }

    /// The tenant of a key that is no session; empty for the operator's.
    pub(super) fn whose(&self, id: KeyId) -> Option<String> {
        let key = self.0.get(&id).filter(|key| key.parent.is_none())?;
        Some(key.tenant.clone().unwrap_or_default())
    }

    pub(super) fn delete(&mut self, id: KeyId) -> bool {
        let before = self.0.len();
        self.0.retain(|_, key| key.id != id && key.parent != Some(id));
        self.0.len() < before
    }

    pub(super) fn used(&mut self, ids: &[KeyId], now: Timestamp) {
        for id in ids {
            if let Some(key) = self.0.get_mut(id)
                && key.last_used_at.is_none_or(|at| at > now || at + Duration::from_secs(60) <= now)
            {
                key.last_used_at = Some(now);
            }
        }
    }

    pub(super) fn prune(&mut self, now: Timestamp) -> u64 {
        let gone: Vec<KeyId> = self
            .0
            .values()
            .filter(|key| key.parent.is_some() && !self.lets_in(key, now))
            .map(|key| key.id)
            .collect();
        gone.iter().for_each(|id| drop(self.0.remove(id)));
        gone.len() as u64
    }
}
