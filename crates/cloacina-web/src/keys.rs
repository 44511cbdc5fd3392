//! Keys that this service gives out, and the sessions of people who logged in with one.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, COOKIE};
use cloacina::audit::Actor;
use cloacina::keys::{KeyHash, KeyId, KeyRecord, Keys, NewKey};
use cloacina::{Error, ErrorKind};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::time::now;
use crate::{Principal, Role};

/// What a secret begins with, so that it is known for one where it should not be.
const PREFIX: &str = "clc_";

/// The name of the cookie of a session.
pub(crate) const SESSION: &str = "cloacina";

/// How long a session lasts.
pub(crate) const SESSION_LASTS: SignedDuration = SignedDuration::from_hours(12);

/// For how long a key that was found is not looked up again. A key that was ended is good for so much longer.
const REMEMBERED: Duration = Duration::from_secs(5);

/// How many keys are remembered.
const MOST_REMEMBERED: usize = 10_000;

/// How often it is noted which keys were used.
const NOTED: Duration = Duration::from_secs(30);

/// Knows who sends a request by keys that the engine's database keeps, hashed, beside the tenants' places.
///
/// A program sends its key as `Authorization: Bearer clc_…`. A person logs in with one on the page `/login`
/// and gets a session, a key of its own in a cookie, which lasts 12 hours, and ends with the key, or when the
/// person logs out. A key that is ended may be good for 5 s more in a process that has just seen it.
///
/// ```no_run
/// # async fn serve(tenants: cloacina::tenants::TenantManager) -> Result<(), cloacina::Error> {
/// use cloacina_web::{ApiKeys, KeyRequest, Role};
///
/// let keys = ApiKeys::new(tenants.keys());
/// // The first one has to be made by hand; it is told once, here.
/// let (secret, _) = keys.issue(KeyRequest::of_all("the first", Role::Admin).with_payloads(), "set-up").await?;
/// println!("log in with {secret}");
/// let router = cloacina_web::router(tenants, keys);
/// # drop(router); Ok(()) }
/// ```
#[derive(Clone)]
pub struct ApiKeys {
    keys: Keys,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    keys: HashMap<KeyId, (KeyRecord, Instant)>,
    used: HashSet<KeyId>,
    noted: Instant,
}

/// A key that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "no key is made before it is issued"]
pub struct KeyRequest {
    name: String,
    tenant: Option<String>,
    role: Role,
    payloads: bool,
    expires_at: Option<Timestamp>,
}

impl KeyRequest {
    /// A key with a role in a tenant, and the name by which people know it.
    pub fn of(name: impl Into<String>, tenant: impl Into<String>, role: Role) -> Self {
        Self { tenant: Some(tenant.into()), ..Self::of_all(name, role) }
    }

    /// A key with a role in all tenants.
    pub fn of_all(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), tenant: None, role, payloads: false, expires_at: None }
    }

    /// It may see payloads.
    pub fn with_payloads(mut self) -> Self {
        self.payloads = true;
        self
    }

    /// It is good until then.
    pub fn expires_at(mut self, time: Timestamp) -> Self {
        self.expires_at = Some(time);
        self
    }
}

/// A secret as it was sent: whose it is, and what proves it.
struct Secret {
    id: KeyId,
    hash: KeyHash,
}

impl Secret {
    /// Makes one, and the text that is told once.
    fn new() -> Result<(Self, String), Error> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| {
            let message = "no key was made: the operating system has no random numbers";
            Error::new(ErrorKind::Internal, message).with_source(error)
        })?;
        let letters: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let id = KeyId::new();
        Ok((Self { id, hash: hash_of(&letters) }, format!("{PREFIX}{id}_{letters}")))
    }

    /// Reads what was sent; `None` for what is none of ours.
    fn parse(text: &str) -> Option<Self> {
        let (id, letters) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_plain = letters.len() == 64 && letters.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self { id: id.parse().ok()?, hash: hash_of(is_plain.then_some(letters)?) })
    }
}

fn hash_of(letters: &str) -> KeyHash {
    KeyHash(Sha256::digest(letters.as_bytes()).into())
}

impl ApiKeys {
    /// Knows who it is by these.
    #[must_use]
    pub fn new(keys: Keys) -> Self {
        let seen = Seen { keys: HashMap::new(), used: HashSet::new(), noted: Instant::now() };
        Self { keys, seen: Arc::new(Mutex::new(seen)) }
    }

    /// The same keys, made and ended in somebody's name.
    pub(crate) fn acting(&self, actor: Actor) -> Self {
        Self { keys: self.keys.acting(actor), seen: Arc::clone(&self.seen) }
    }

    /// Makes a key and returns its secret, which is kept nowhere.
    ///
    /// # Errors
    ///
    /// As [`Keys::insert`].
    pub async fn issue(&self, wanted: KeyRequest, by: &str) -> Result<(String, KeyRecord), Error> {
        let KeyRequest { name, tenant, role, payloads, expires_at } = wanted;
        let (secret, text) = Secret::new()?;
        let key = NewKey {
            id: secret.id,
            hash: secret.hash,
            parent: None,
            tenant,
            role: role.as_str().to_owned(),
            payloads,
            name,
            created_by: by.to_owned(),
            expires_at,
        };
        Ok((text, self.keys.insert(key).await?))
    }

    /// A part of the keys of a tenant, or of all of them for `None`.
    pub(crate) async fn list(
        &self,
        tenant: Option<&str>,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<KeyRecord>, Error> {
        self.keys.list(tenant, after, limit).await
    }

    /// Ends a key of a tenant, or any for `None`. False if there is none.
    pub(crate) async fn end(&self, tenant: Option<&str>, id: &str) -> Result<bool, Error> {
        if let Some(tenant) = tenant {
            let known = self.keys.find(id).await?;
            // One that is expired is found by listing only.
            let is_theirs = match known {
                Some(key) => key.tenant.as_deref() == Some(tenant),
                None => {
                    self.keys.list(Some(tenant), None, 10_000).await?.iter().any(|key| key.id.as_str() == id)
                }
            };
            if !is_theirs {
                return Ok(false);
            }
        }
        let is_ended = self.keys.delete(id).await?;
        self.seen.lock().keys.retain(|seen, (key, _)| {
            let is_it = |known: &KeyId| known.as_str() == id;
            !is_it(seen) && !key.parent.as_ref().is_some_and(is_it)
        });
        Ok(is_ended)
    }

    /// Begins a session with the secret of a key. `None` if it is not good.
    pub(crate) async fn log_in(&self, secret: &str) -> Result<Option<String>, Error> {
        let Some(key) = self.known(secret.trim()).await? else { return Ok(None) };
        if key.parent.is_some() {
            return Ok(None);
        }
        let (secret, text) = Secret::new()?;
        let session = NewKey {
            id: secret.id,
            hash: secret.hash,
            parent: Some(key.id),
            tenant: key.tenant,
            role: key.role,
            payloads: key.payloads,
            name: key.name,
            created_by: "login".to_owned(),
            expires_at: now().checked_add(SESSION_LASTS).ok(),
        };
        // The audit knows when somebody came.
        let actor = Actor::new(&session.name).role(&session.role);
        self.keys.acting(actor).insert(session).await?;
        self.keys.prune().await?;
        Ok(Some(text))
    }

    /// Ends the session of a request.
    pub(crate) async fn log_out(&self, headers: &HeaderMap) -> Result<(), Error> {
        let Some(secret) = cookie(headers) else { return Ok(()) };
        if let Some(session) = self.known(secret).await?
            && session.parent.is_some()
        {
            self.end(None, session.id.as_str()).await?;
        }
        Ok(())
    }

    /// Who sends a request with these headers.
    pub(crate) async fn who(&self, headers: &HeaderMap) -> Result<Option<Principal>, Error> {
        let Some(secret) = bearer(headers).or_else(|| cookie(headers)) else { return Ok(None) };
        let Some(key) = self.known(secret).await? else { return Ok(None) };
        Ok(principal(&key))
    }

    /// The key of a secret, if it is good.
    async fn known(&self, secret: &str) -> Result<Option<KeyRecord>, Error> {
        let Some(secret) = Secret::parse(secret) else { return Ok(None) };
        let remembered = {
            let seen = self.seen.lock();
            let known = seen.keys.get(&secret.id).filter(|(_, since)| since.elapsed() < REMEMBERED);
            known.map(|(key, _)| key.clone())
        };
        let is_looked_up = remembered.is_none();
        let key = match remembered {
            Some(key) => Some(key),
            None => self.keys.find(secret.id.as_str()).await?,
        };
        let Some(key) = key.filter(|key| bool::from(key.hash.0.ct_eq(&secret.hash.0))) else {
            return Ok(None);
        };
        // What was remembered may have expired since.
        if key.expires_at.is_some_and(|time| time <= now()) && !is_looked_up {
            return Ok(None);
        }
        self.note(&key, is_looked_up);
        Ok(Some(key))
    }

    /// Remembers a key that was good, and that it was used.
    fn note(&self, key: &KeyRecord, is_looked_up: bool) {
        let mut seen = self.seen.lock();
        if is_looked_up {
            if seen.keys.len() >= MOST_REMEMBERED {
                seen.keys.clear();
            }
            seen.keys.insert(key.id, (key.clone(), Instant::now()));
        }
        // The use of a session is one of its key.
        seen.used.insert(key.parent.unwrap_or(key.id));
        let is_first = key.last_used_at.is_none() && is_looked_up;
        if !is_first && seen.noted.elapsed() < NOTED {
            return;
        }
        seen.noted = Instant::now();
        let used: Vec<KeyId> = seen.used.drain().collect();
        drop(seen);
        let keys = self.keys.clone();
        tokio::spawn(async move {
            let ids: Vec<&str> = used.iter().map(KeyId::as_str).collect();
            if let Err(error) = keys.used(&ids).await {
                tracing::warn!(%error, "it was not noted which keys were used; nothing else is missing");
            }
        });
    }
}

/// Who the bearer of a key is. One whose role this version does not know is nobody.
fn principal(key: &KeyRecord) -> Option<Principal> {
    let role = Role::parse(&key.role)?;
    let principal = Principal::new(&key.name);
    let principal = match &key.tenant {
        Some(tenant) => principal.of(tenant, role),
        None => principal.of_all(role),
    };
    Some(if key.payloads { principal.with_payloads() } else { principal })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .find_map(|cookies| {
            cookies
                .split(';')
                .filter_map(|cookie| cookie.trim().split_once('='))
                .find(|(name, _)| *name == SESSION)
        })
        .map(|(_, secret)| secret)
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};

    use super::{Secret, bearer, cookie};

    #[test]
    fn a_secret_goes_round_as_text() {
        let (made, text) = Secret::new().unwrap();
        let read = Secret::parse(&text).unwrap();
        assert!(made.id == read.id && made.hash == read.hash);
        let (other, _) = Secret::new().unwrap();
        assert!(made.hash != other.hash);
    }

    #[test]
    fn what_is_no_secret_is_none() {
        let (_, text) = Secret::new().unwrap();
        let cut = &text[..text.len() - 1];
        let other = text.replacen("clc_", "clx_", 1);
        let long = format!("{text}0");
        for wrong in ["", "clc_", "clc__", "clc_short_00", cut, &other, &long, "Bearer", "ü"] {
            assert!(Secret::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_found_in_its_header_or_its_cookie() {
        let mut headers = HeaderMap::new();
        assert_eq!((bearer(&headers), cookie(&headers)), (None, None));
        headers.insert("authorization", HeaderValue::from_static("bearer  abc "));
        headers.append("cookie", HeaderValue::from_static("theme=dark; cloacina=def; x=y"));
        assert_eq!((bearer(&headers), cookie(&headers)), (Some("abc"), Some("def")));
        headers.insert("authorization", HeaderValue::from_static("Basic abc"));
        headers.insert("cookie", HeaderValue::from_static("xcloacina=def"));
        assert_eq!((bearer(&headers), cookie(&headers)), (None, None));
    }
}
