//! Keys: what a program or a person shows to be let in by a service that is built on the engine.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::audit::NewAudit;
use super::error::StoreError;
use crate::error::{Error, ErrorKind};

/// The most letters of the name of a key.
const MOST_NAME: usize = 100;

/// The most letters of the role of a key.
const MOST_ROLE: usize = 64;

/// The most letters of what says who made a key.
const MOST_CREATED_BY: usize = 200;

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The id of a key: 12 letters and digits. It is no secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 12]);

impl KeyId {
    /// A new id, drawn at random.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "an id out of nowhere should be asked for by name")]
    pub fn new() -> Self {
        let mut rest = Uuid::new_v4().as_u128();
        Self(std::array::from_fn(|_| {
            let letter = usize::try_from(rest % 62).unwrap_or_default();
            rest /= 62;
            LETTERS[letter]
        }))
    }

    /// Its letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("an id has ASCII letters only")
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.as_bytes().try_into() {
            Ok(letters) if text.bytes().all(|letter| letter.is_ascii_alphanumeric()) => Ok(Self(letters)),
            _ => Err(Error::new(
                ErrorKind::Configuration,
                "the id of a key has 12 letters and digits, and this one has not",
            )),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.as_str())
    }
}

/// The SHA-256 of the secret of a key. The secret itself is kept nowhere.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// A key that is to be kept, or a session that is made from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Its id.
    pub id: KeyId,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// The key that it is a session of, and with which it goes. It has the same tenant, unless that key is
    /// the operator's.
    pub parent: Option<KeyId>,
    /// Whose it is: the name of a tenant; the operator's if there is none.
    pub tenant: Option<String>,
    /// What it is for, in the words of whoever asks for it: at most 64 letters.
    pub role: String,
    /// Whether its bearer may see the contents of contexts.
    pub payloads: bool,
    /// What a person calls it: at most 100 letters.
    pub name: String,
    /// Who made it: at most 200 letters.
    pub created_by: String,
    /// Until when it is good, by the clock of the database; for ever if this is not said.
    pub expires_at: Option<Timestamp>,
}

impl NewKey {
    /// Whether its texts can be kept.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for a text that is too long, or has letters that cannot be seen.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let texts = [
            ("name", &self.name, MOST_NAME),
            ("role", &self.role, MOST_ROLE),
            ("maker", &self.created_by, MOST_CREATED_BY),
        ];
        for (what, text, most) in texts {
            if text.chars().count() > most || text.chars().any(char::is_control) {
                let message = format!(
                    "the {what} of key `{}` cannot be kept: it may have {most} letters, and no control characters",
                    self.id
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            }
        }
        Ok(())
    }
}

/// A key, or a session, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// The key that it is a session of.
    pub parent: Option<KeyId>,
    /// The tenant whose it is; the operator's if there is none.
    pub tenant: Option<String>,
    /// What it is for.
    pub role: String,
    /// Whether its bearer may see the contents of contexts.
    pub payloads: bool,
    /// What a person calls it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// Until when it is good.
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// Which keys are listed, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct KeyList {
    /// Those of this tenant; all of them, the operator's too, if none is named.
    pub tenant: Option<String>,
    /// Only those behind this one.
    pub after: Option<KeyId>,
    /// At most so many.
    pub limit: usize,
}

/// Why a key is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// There is another one of its id.
    Taken,
    /// There is no such tenant.
    NoTenant,
    /// The key that it would be a session of is gone or expired, is a session itself, or is another tenant's.
    NoParent,
}

/// Where keys are kept: beside the tenants' places, and never in one.
///
/// `now` is `None` in production, as in [`Store`](super::Store).
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Keeps a key, and says when it was made. The same one again changes nothing. Of a session nothing is
    /// noted in the audit.
    async fn key_insert(
        &self,
        key: &NewKey,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<Result<Timestamp, KeyRefusal>, StoreError>;

    /// A key that is still good: it is not expired, its tenant is there, and of a session its key is good.
    async fn key_find(&self, id: KeyId, now: Option<Timestamp>) -> Result<Option<KeyRecord>, StoreError>;

    /// Keys, good or not, without sessions.
    async fn key_list(&self, list: &KeyList) -> Result<Vec<KeyRecord>, StoreError>;

    /// Deletes a key with its sessions, or a session. False if there is none.
    async fn key_delete(
        &self,
        id: KeyId,
        audit: Option<&NewAudit>,
        now: Option<Timestamp>,
    ) -> Result<bool, StoreError>;

    /// Notes that keys were used, each at most once a minute.
    async fn key_used(&self, ids: &[KeyId], now: Option<Timestamp>) -> Result<(), StoreError>;

    /// Deletes the sessions that are not good any more, and says how many.
    async fn key_prune(&self, now: Option<Timestamp>) -> Result<u64, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twelve_letters_and_digits() {
        let id = KeyId::new();
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        assert_ne!(KeyId::new(), id);
        for text in ["", "short", "1234567890123", "12345678901_", "1234567890\u{e9}", "123456789 12"] {
            assert_eq!(text.parse::<KeyId>().unwrap_err().kind(), ErrorKind::Configuration, "{text:?}");
        }
    }

    #[test]
    fn a_hash_is_in_no_debug_output() {
        let text = format!("{:?}", KeyHash([7; 32]));
        assert!(!text.contains('7'), "{text}");
    }
}
