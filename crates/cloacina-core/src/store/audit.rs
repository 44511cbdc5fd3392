//! The audit: who did what by name, and a chain of hashes over it by which a row that was changed, taken away
//! or slipped in is found.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::StoreError;
use crate::id::TenantId;

/// How many rows are read, or sealed, at once.
pub const AUDIT_PAGE: usize = 1_000;

/// By how much a row may be older than the one that was sealed before it: a transaction may take long.
const LATE: jiff::SignedDuration = jiff::SignedDuration::from_mins(15);

/// Who acts, as the program says that acts for them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Actor {
    /// Who: at most 200 letters.
    pub name: String,
    /// In which role: at most 64 letters.
    pub role: Option<String>,
    /// Why, if they said so: at most 1,000 letters.
    pub reason: Option<String>,
}

impl Actor {
    /// Somebody of this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), role: None, reason: None }
    }

    /// In this role.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// For this reason.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// With texts that can be kept: what is longer is cut, what cannot be seen is left out.
    #[doc(hidden)]
    #[must_use]
    pub fn trimmed(self) -> Self {
        let cut = |text: String, most| text.chars().filter(|char| !char.is_control()).take(most).collect();
        Self {
            name: cut(self.name, 200),
            role: self.role.map(|role| cut(role, 64)),
            reason: self.reason.map(|reason| cut(reason, 1_000)),
        }
    }
}

/// What somebody does by name, to be noted in the transaction in which it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAudit {
    /// Who.
    pub actor: Arc<Actor>,
    /// What.
    pub action: &'static str,
    /// To what: an execution, a schedule, a key. Nothing is said of the tenant, whose it is.
    pub object: Option<String>,
    /// More about it, a small JSON object without the contents of contexts.
    pub detail: Option<String>,
}

impl NewAudit {
    /// With this JSON as the detail.
    #[must_use]
    pub fn with_detail(&self, detail: impl std::fmt::Display) -> Self {
        Self { detail: Some(detail.to_string()), ..self.clone() }
    }

    /// With the states before and after.
    #[must_use]
    pub fn between(&self, before: impl std::fmt::Display, after: impl std::fmt::Display) -> Self {
        self.with_detail(format_args!(r#"{{"before":"{before}","after":"{after}"}}"#))
    }
}

/// A short hash of a text, by which two of them are told apart.
pub(crate) fn short_hash(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The hash of a row of the audit with those before it.
pub type Seal = [u8; 32];

/// A row of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Its number, in the order in which rows were written.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// In which role.
    pub role: Option<String>,
    /// What.
    pub action: String,
    /// The tenant that it is about, as the operator calls it.
    pub tenant: Option<String>,
    /// Whose chain it is in.
    pub chain: String,
    /// The tenant's schema.
    pub place: Option<String>,
    /// To what.
    pub object: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// More about it.
    pub detail: Option<String>,
    /// The database login that wrote it.
    pub login: Option<String>,
    /// Its place in the chain, from 1, once it is sealed.
    pub position: Option<i64>,
    /// The hash over it and the one before.
    pub seal: Option<Seal>,
}

impl AuditRecord {
    /// The seal of this row behind one with that seal: SHA-256 over it and the fields, each preceded by its
    /// length in bytes.
    #[must_use]
    pub fn seal_after(&self, before: Option<&Seal>) -> Seal {
        let mut hash = Sha256::new();
        hash.update(before.map_or(&[][..], |seal| &seal[..]));
        let numbers = [self.id.to_string(), self.at.as_microsecond().to_string()];
        let texts = [
            Some(&self.actor),
            self.role.as_ref(),
            Some(&self.action),
            Some(&self.chain),
            self.place.as_ref(),
            self.object.as_ref(),
            self.reason.as_ref(),
            self.detail.as_ref(),
            self.login.as_ref(),
        ];
        for text in numbers.iter().map(Some).chain(texts) {
            match text {
                Some(text) => hash.update(format!("{}:{text}", text.len())),
                None => hash.update("-"),
            }
        }
        hash.finalize().into()
    }
}

/// Which rows are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditOf {
    /// All that the database, or the directory, has.
    All,
    /// Those about the tenant of this name, or the tenants that were called so one after the other.
    Named(String),
    /// Those about this tenant.
    Tenant(TenantId),
}

/// Rows of the audit, the newest first.
#[derive(Debug, Clone)]
pub struct AuditList {
    /// Which.
    pub of: AuditOf,
    /// Only those with a smaller number: the last one of the page before.
    pub before: Option<i64>,
    /// At most so many.
    pub limit: usize,
}

/// A part of the chains of the audit.
#[derive(Debug, Clone, Default)]
pub struct AuditChain {
    /// Sealed rows, by chain and position: the first [`AUDIT_PAGE`] behind the one that was named.
    pub rows: Vec<AuditRecord>,
    /// The ends of the chains, as they were noted when the last row was sealed: by chain, position and seal.
    pub heads: Vec<(String, i64, Seal)>,
}

/// Where the audit is kept.
///
/// What is done in a tenant's place is noted there, or in the database that it is in, in the same
/// transaction.
#[async_trait]
pub trait AuditStore: Send + Sync + 'static {
    /// Seals the rows that are committed and not sealed, behind those that are.
    async fn audit_seal(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Rows of the audit.
    async fn audit_list(&self, list: &AuditList) -> Result<Vec<AuditRecord>, StoreError>;

    /// A part of the chains: what comes after this chain and position.
    async fn audit_chain(&self, of: &AuditOf, after: (String, i64)) -> Result<AuditChain, StoreError>;
}

/// Whether the audit is as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditVerdict {
    /// How many rows are sealed and as they were.
    pub rows: u64,
    /// The seal of the last of them, in hexadecimal digits. Whoever notes it elsewhere finds a later change
    /// of all that was before.
    pub head: Option<String>,
    /// The number of the first row that was changed or slipped in, or before which one is missing; that of
    /// the last row there is if some are missing behind it, 0 if there is none.
    pub broken_at: Option<i64>,
}

/// Goes through chains, page by page.
#[derive(Debug, Default)]
pub(crate) struct Verifying {
    last: Option<AuditRecord>,
    verdict: AuditVerdict,
    ends: Vec<(String, i64, Seal)>,
}

impl Verifying {
    /// Where the next page begins.
    pub(crate) fn after(&self) -> (String, i64) {
        let last = self.last.as_ref();
        last.map_or_else(Default::default, |last| (last.chain.clone(), last.position.unwrap_or_default()))
    }

    /// Looks at a page. True if there may be more.
    pub(crate) fn look(&mut self, page: AuditChain) -> bool {
        if self.last.is_none() {
            self.ends = page.heads;
        }
        let is_full = page.rows.len() >= AUDIT_PAGE;
        for row in page.rows {
            if self.verdict.broken_at.is_some() {
                return false;
            }
            let before = self.last.take().filter(|last| last.chain == row.chain);
            let is_next =
                row.position == Some(before.as_ref().map_or(1, |last| last.position.unwrap_or_default() + 1));
            let sealed = row.seal_after(before.as_ref().and_then(|last| last.seal.as_ref()));
            let is_late = before.as_ref().is_some_and(|last| last.at.duration_since(row.at) > LATE);
            if is_next && row.seal == Some(sealed) && !is_late {
                self.verdict.rows += 1;
                self.note_end(&row);
            } else {
                self.verdict.broken_at = Some(row.id);
            }
            self.last = Some(row);
        }
        is_full && self.verdict.broken_at.is_none()
    }

    fn note_end(&mut self, row: &AuditRecord) {
        // What is missing behind this one is found by what was noted as the end.
        self.ends.retain(|(chain, position, seal)| {
            !(*chain == row.chain && Some(*position) == row.position && Some(*seal) == row.seal)
        });
    }

    pub(crate) fn verdict(mut self) -> AuditVerdict {
        let last = self.last.as_ref();
        let is_cut = self.verdict.broken_at.is_none() && !self.ends.is_empty();
        if is_cut {
            self.verdict.broken_at = Some(last.map_or(0, |last| last.id));
        }
        let hex = |seal: &Seal| seal.iter().map(|byte| format!("{byte:02x}")).collect();
        self.verdict.head = last.and_then(|last| last.seal.as_ref()).map(hex);
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(rows: i64) -> Vec<AuditRecord> {
        let mut chain: Vec<AuditRecord> = Vec::new();
        for position in 1..=rows {
            let row = AuditRecord {
                id: position * 10,
                at: Timestamp::from_second(position).unwrap(),
                actor: "ada".to_owned(),
                role: None,
                action: "cancel".to_owned(),
                tenant: None,
                chain: "acme".to_owned(),
                place: None,
                object: Some(position.to_string()),
                reason: Some(String::new()),
                detail: None,
                login: None,
                position: Some(position),
                seal: None,
            };
            let seal = row.seal_after(chain.last().and_then(|last| last.seal.as_ref()));
            chain.push(AuditRecord { seal: Some(seal), ..row });
        }
        chain
    }

    fn verdict(rows: Vec<AuditRecord>, head: Option<&AuditRecord>) -> AuditVerdict {
        let heads = head.map(|row| (row.chain.clone(), row.position.unwrap(), row.seal.unwrap()));
        let mut verifying = Verifying::default();
        verifying.look(AuditChain { rows, heads: heads.into_iter().collect() });
        verifying.verdict()
    }

    #[test]
    fn a_chain_that_was_not_touched_is_whole() {
        let rows = chain(5);
        let verdict = verdict(rows.clone(), rows.last());
        assert_eq!((verdict.rows, verdict.broken_at), (5, None));
        assert_eq!(verdict.head.unwrap().len(), 64);
    }

    #[test]
    fn what_was_changed_is_found() {
        let whole = chain(5);
        let changes: [fn(&mut AuditRecord); 7] = [
            |row| row.actor = "bob".to_owned(),
            |row| row.role = Some("admin".to_owned()),
            |row| row.object = None,
            |row| row.reason = None,
            |row| row.at = Timestamp::from_second(77).unwrap(),
            |row| row.detail = Some(String::new()),
            |row| row.login = Some("x".to_owned()),
        ];
        for change in changes {
            let mut rows = whole.clone();
            change(&mut rows[2]);
            assert_eq!(verdict(rows, whole.last()).broken_at, Some(30));
        }
    }

    #[test]
    fn what_is_missing_or_slipped_in_is_found() {
        let whole = chain(5);
        for (missing, found) in [(0, 20), (2, 40), (4, 40)] {
            let mut rows = whole.clone();
            rows.remove(missing);
            assert_eq!(verdict(rows, whole.last()).broken_at, Some(found));
        }
        assert_eq!(verdict(Vec::new(), whole.last()).broken_at, Some(0));
        let mut rows = whole.clone();
        rows.insert(2, AuditRecord { id: 25, ..whole[1].clone() });
        assert_eq!(verdict(rows, whole.last()).broken_at, Some(25));
    }

    #[test]
    fn a_row_that_claims_to_be_much_older_than_those_before_it_is_found() {
        let mut rows = chain(2);
        rows[0].at = Timestamp::from_second(100_000).unwrap();
        rows[0].seal = Some(rows[0].seal_after(None));
        rows[1].seal = Some(rows[1].seal_after(rows[0].seal.as_ref()));
        assert_eq!(verdict(rows.clone(), rows.last()).broken_at, Some(20));
    }

    #[test]
    fn fields_do_not_run_into_each_other() {
        let [row] = &chain(1)[..] else { panic!("one row") };
        let one = AuditRecord { object: Some("a".to_owned()), reason: Some("bc".to_owned()), ..row.clone() };
        let other =
            AuditRecord { object: Some("ab".to_owned()), reason: Some("c".to_owned()), ..row.clone() };
        assert_ne!(one.seal_after(None), other.seal_after(None));
    }
}
