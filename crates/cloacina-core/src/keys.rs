//! A handle on the keys of a service.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::store::{
    Actor, KeyId, KeyList, KeyRecord, KeyRefusal, KeyStore, NewAudit, NewKey, StoreError, StoreErrorKind,
};

/// The most keys that are listed at once.
const LIST_LIMIT: usize = 10_000;

/// Keys that let programs and people in, and the sessions made from them, beside the tenants' places: the
/// database of a service keeps them, with the hashes of their secrets.
///
/// A tenant need not be open for it, and is not opened. A tenant that is removed takes its keys with it.
#[derive(Clone)]
pub struct Keys {
    store: Arc<dyn KeyStore>,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    /// Who makes and ends them.
    actor: Option<Arc<Actor>>,
    /// Whether whoever opened the store still has it open.
    check_open: Arc<dyn Fn() -> Result<(), Error> + Send + Sync>,
}

impl Keys {
    /// Those that a store keeps, whose futures are run on `runtime`.
    #[doc(hidden)]
    pub fn new(
        store: Arc<dyn KeyStore>,
        runtime: Handle,
        clock: Arc<dyn Clock>,
        actor: Option<Arc<Actor>>,
        check_open: impl Fn() -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        Self { store, runtime, clock, actor, check_open: Arc::new(check_open) }
    }

    /// The same keys, acting for somebody: those that are made and ended are noted in the audit.
    #[must_use]
    pub fn acting(&self, actor: Actor) -> Self {
        Self { actor: Some(Arc::new(actor.trimmed())), ..self.clone() }
    }

    /// Keeps a key, or a session of one, and returns it as it is kept. The same one again changes nothing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a text that is too long or has control characters, and for the login
    /// of a tenant, which may not touch keys; [`ErrorKind::Conflict`] if another key has this id,
    /// [`ErrorKind::NotFound`] if there is no such tenant, or no good key that it could be a session of; and
    /// what is wrong with the database.
    pub async fn insert(&self, key: NewKey) -> Result<KeyRecord, Error> {
        key.check()?;
        let asked = key.clone();
        let detail = serde_json::json!({ "role": key.role, "payloads": key.payloads, "name": key.name });
        let audit = self.audit("make_key", key.id).map(|audit| audit.with_detail(detail));
        let kept =
            self.ask(async move |store, now| store.key_insert(&asked, audit.as_ref(), now).await).await?;
        let NewKey { id, hash, parent, tenant, role, payloads, name, created_by, expires_at } = key;
        let created_at = kept.map_err(|refusal| refused(refusal, id, parent, tenant.as_deref()))?;
        let last_used_at = None;
        Ok(KeyRecord {
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
        })
    }

    /// The key, or the session, of this id, if it is still good: it is not expired by the clock of the
    /// database, its tenant is there, and of a session its key is good. What is no id finds nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn find(&self, id: &str) -> Result<Option<KeyRecord>, Error> {
        let Ok(id) = id.parse() else { return Ok(None) };
        self.ask(async move |store, now| store.key_find(id, now).await).await
    }

    /// A page of keys in the order of their ids, without sessions: at most `limit`, all after `after`, which
    /// is the last one of the page before. Those of a tenant; all of them, the operator's too, if none is
    /// named. Expired ones are among them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] if `after` is no id; what is wrong with the database.
    pub async fn list(
        &self,
        tenant: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, Error> {
        let after = after.map(str::parse).transpose()?;
        let list = KeyList { tenant: tenant.map(str::to_owned), after, limit: limit.min(LIST_LIMIT) };
        self.ask(async move |store, _| store.key_list(&list).await).await
    }

    /// Deletes a key with its sessions, or a session. From then on nobody finds it. False if there is none.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn delete(&self, id: &str) -> Result<bool, Error> {
        let Ok(id) = id.parse() else { return Ok(false) };
        let audit = self.audit("end_key", id);
        self.ask(async move |store, now| store.key_delete(id, audit.as_ref(), now).await).await
    }

    /// Notes that keys were used, each at most once a minute. What is no id is left out.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn used(&self, ids: &[&str]) -> Result<(), Error> {
        let ids: Vec<KeyId> = ids.iter().filter_map(|id| id.parse().ok()).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.ask(async move |store, now| store.key_used(&ids, now).await).await
    }

    /// Deletes the sessions that are not good any more, and says how many these were.
    ///
    /// # Errors
    ///
    /// What is wrong with the database.
    pub async fn prune(&self) -> Result<u64, Error> {
        self.ask(async |store, now| store.key_prune(now).await).await
    }

    fn audit(&self, action: &'static str, id: KeyId) -> Option<NewAudit> {
        let (actor, object) = (Arc::clone(self.actor.as_ref()?), Some(id.to_string()));
        Some(NewAudit { actor, action, object, detail: None })
    }

    async fn ask<T, Fut>(
        &self,
        call: impl FnOnce(Arc<dyn KeyStore>, Option<Timestamp>) -> Fut,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        (self.check_open)()?;
        let call = call(Arc::clone(&self.store), self.clock.database_now());
        let answer = self.runtime.spawn(call).await.unwrap_or_else(|error| {
            let message = format!("a call about keys did not end: {error}");
            Err(StoreError::new(StoreErrorKind::Internal, message))
        });
        Ok(answer?)
    }
}

fn refused(refusal: KeyRefusal, id: KeyId, parent: Option<KeyId>, tenant: Option<&str>) -> Error {
    let (kind, message) = match refusal {
        KeyRefusal::Taken => (ErrorKind::Conflict, format!("there is another key `{id}`; draw another id")),
        KeyRefusal::NoTenant => {
            let tenant = tenant.unwrap_or_default().escape_debug();
            (ErrorKind::NotFound, format!("there is no tenant `{tenant}` for which a key could be kept"))
        }
        KeyRefusal::NoParent => {
            let parent = parent.map_or_else(String::new, |parent| format!(" `{parent}`"));
            let message =
                format!("there is no key{parent} that is good and of which this tenant could have a session");
            (ErrorKind::NotFound, message)
        }
    };
    Error::new(kind, message)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
