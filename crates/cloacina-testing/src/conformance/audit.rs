//! The audit.

use std::sync::Arc;

use cloacina_core::store::{
    Actor, AuditList, AuditOf, AuditRecord, Control, Controlled, NewAudit, NewExecution, Seal,
};
use jiff::Timestamp;

use super::Fixture;
use super::process::{Process, World, at, draft};

#[expect(clippy::needless_pass_by_value, reason = "an id or a text, whichever is at hand")]
fn audit(action: &'static str, object: impl ToString) -> NewAudit {
    let actor = Actor::new("Grüße, \u{1F980}").role("operator").reason("why not");
    NewAudit { actor: Arc::new(actor), action, object: Some(object.to_string()), detail: None }
}

impl Process {
    async fn note(&self, audit: NewAudit, now: Timestamp) {
        let place = Arc::clone(&self.place);
        self.call(|store| async move { store.audit_note(&place, &audit, Some(now)).await }).await;
    }

    async fn audit(&self, before: Option<i64>, limit: usize) -> Vec<AuditRecord> {
        let list = AuditList { of: AuditOf::Tenant(self.place.tenant), before, limit };
        self.call(|store| async move {
            store.audit_seal().await?;
            store.audit_list(&list).await
        })
        .await
    }
}

pub async fn what_is_done_by_name_is_noted_if_it_is_done(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    let id = world.submit(NewExecution { submitted_by: Some("bob".into()), ..draft(&[0]) }, at(0)).await;
    assert_eq!(world.load(id).await.header.submitted_by.as_deref(), Some("bob"));
    let cancel = Control::Cancel { reason: "so".to_owned() };
    let mut done = Vec::new();
    for control in [Control::Pause, Control::Pause, Control::Resume, cancel.clone(), cancel] {
        let (place, audit) = (Arc::clone(&world.place), audit("control", id));
        done.push(
            world
                .call(|store| async move {
                    store.execution_control(&place, id, control, Some(&audit), Some(at(1))).await
                })
                .await,
        );
    }
    let refused = done.iter().filter(|done| matches!(done, Controlled::Refused(_))).count();
    assert_eq!((done.len(), refused), (5, 2));
    // An administrator may have noted that the tenant was made.
    let mut rows = world.audit(None, 10).await;
    rows.retain(|row| row.action == "control");
    let details: Vec<_> = rows.iter().map(|row| row.detail.as_deref().unwrap_or_default()).collect();
    assert_eq!(
        details,
        [
            r#"{"before":"pending","after":"cancelled"}"#,
            r#"{"before":"paused","after":"pending"}"#,
            r#"{"before":"pending","after":"paused"}"#
        ]
    );
    let row = &rows[0];
    assert_eq!((row.actor.as_str(), row.role.as_deref()), ("Grüße, \u{1F980}", Some("operator")));
    assert_eq!((row.action.as_str(), row.reason.as_deref()), ("control", Some("why not")));
    assert_eq!((row.object.clone(), row.at), (Some(id.to_string()), at(1)));
}

pub async fn the_audit_is_listed_page_by_page_and_chained(fixture: &impl Fixture) {
    let world = World::new(fixture).await;
    for number in 0..7 {
        world.note(audit("note", number), at(number)).await;
    }
    let mut listed: Vec<AuditRecord> = Vec::new();
    loop {
        let page = world.audit(listed.last().map(|row| row.id), 3).await;
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    listed.retain(|row| row.action == "note");
    let objects: Vec<_> = listed.iter().filter_map(|row| row.object.as_deref()).collect();
    assert_eq!(objects, ["6", "5", "4", "3", "2", "1", "0"]);
    let of = AuditOf::Tenant(world.place.tenant);
    let chain = world.call(|store| async move { store.audit_chain(&of, Default::default()).await }).await;
    let mut before: Option<Seal> = None;
    for (row, position) in chain.rows.iter().zip(1..) {
        assert_eq!(row.position, Some(position));
        assert_eq!(row.seal, Some(row.seal_after(before.as_ref())));
        before = row.seal;
    }
    assert_eq!(chain.rows.iter().filter(|row| row.action == "note").count(), 7);
    let last = chain.rows.last().and_then(|row| row.position).unwrap_or_default();
    let heads: Vec<_> = chain.heads.iter().map(|(_, position, seal)| (*position, Some(*seal))).collect();
    assert_eq!(heads, [(last, before)]);
}
