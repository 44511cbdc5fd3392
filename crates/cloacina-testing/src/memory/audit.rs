//! The audit, as every store keeps it. A row is sealed when it is written.

use std::collections::BTreeMap;

use cloacina_core::store::{AUDIT_PAGE, AuditChain, AuditRecord, NewAudit, Seal};
use jiff::Timestamp;

#[derive(Default)]
pub(super) struct Audit {
    rows: Vec<AuditRecord>,
    ends: BTreeMap<String, (i64, Seal)>,
}

impl Audit {
    pub(super) fn note(&mut self, chain: &str, audit: &NewAudit, now: Timestamp) {
        let end = self.ends.get(chain).copied();
        let position = end.map_or(0, |(position, _)| position) + 1;
        let row = AuditRecord {
            id: self.rows.last().map_or(1, |last| last.id + 1),
            at: now,
            actor: audit.actor.name.clone(),
            role: audit.actor.role.clone(),
            action: audit.action.to_owned(),
            tenant: Some(chain.to_owned()).filter(|chain| !chain.is_empty()),
            chain: chain.to_owned(),
            place: None,
            object: audit.object.clone(),
            reason: audit.actor.reason.clone(),
            detail: audit.detail.clone(),
            login: None,
            position: Some(position),
            seal: None,
        };
        let seal = row.seal_after(end.as_ref().map(|(_, seal)| seal));
        self.ends.insert(chain.to_owned(), (position, seal));
        self.rows.push(AuditRecord { seal: Some(seal), ..row });
    }

    pub(super) fn list(&self, chain: Option<&str>, before: Option<i64>, limit: usize) -> Vec<AuditRecord> {
        let is_meant = |row: &&AuditRecord| {
            chain.is_none_or(|chain| row.chain == chain) && before.is_none_or(|before| row.id < before)
        };
        self.rows.iter().rev().filter(is_meant).take(limit).cloned().collect()
    }

    pub(super) fn chain(&self, chain: Option<&str>, after: &(String, i64)) -> AuditChain {
        let is_meant = |name: &str| chain.is_none_or(|chain| name == chain);
        let key = |row: &AuditRecord| (row.chain.clone(), row.position.unwrap_or_default());
        let mut rows: Vec<AuditRecord> =
            self.rows.iter().filter(|row| is_meant(&row.chain) && key(row) > *after).cloned().collect();
        rows.sort_by_key(key);
        rows.truncate(AUDIT_PAGE);
        let ends = self.ends.iter().filter(|(name, _)| is_meant(name));
        let heads = ends.map(|(name, (position, seal))| (name.clone(), *position, *seal)).collect();
        AuditChain { rows, heads }
    }
}
