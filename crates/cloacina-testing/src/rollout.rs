//! What a store of the schedules that all tenants have promises. It is no store of executions, so this is
//! apart from their [conformance](mod@crate::conformance).

use cloacina_core::store::{Rollout, ScheduleTemplates, TemplateStore};
use jiff::Timestamp;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(1_750_000_000 + seconds, 0).expect("a time of this century")
}

/// One process at a time gives what was changed to all tenants, and the next goes on where it stopped.
///
/// # Panics
///
/// If the store does otherwise.
pub async fn is_one_process_s_at_a_time_and_goes_on_where_it_stopped(store: &dyn TemplateStore) {
    let put = async |origin: &str, schedules: &str| {
        let templates = ScheduleTemplates { origin: origin.to_owned(), schedules: schedules.to_owned() };
        store.template_put(&templates, None, Some(at(0))).await.expect("the store answers");
    };
    let take = async |seconds: i64| store.rollout_take(Some(at(seconds))).await.expect("the store answers");
    let next = |after: &str, versions: &[(&str, i64)]| {
        let versions = versions.iter().map(|(origin, version)| ((*origin).to_owned(), *version)).collect();
        Rollout::Next { after: after.to_owned(), versions }
    };
    let note = async |versions: &[(&str, i64)], last: Option<&str>, seconds: i64| {
        let versions: Vec<_> =
            versions.iter().map(|(origin, version)| ((*origin).to_owned(), *version)).collect();
        store.rollout_note(&versions, last, Some(at(seconds))).await.expect("the store answers");
    };
    // What never was there need not be taken away.
    put("ops", "[]").await;
    assert_eq!(take(0).await, Rollout::Done);
    put("code", "[1]").await;
    assert_eq!(take(0).await, next("", &[("code", 1)]));
    assert_eq!(take(59).await, Rollout::Elsewhere);
    note(&[("code", 1)], Some("m"), 50).await;
    assert_eq!(take(109).await, Rollout::Elsewhere, "it is alive");
    // It has died. The same once more changes nothing.
    put("code", "[1]").await;
    assert_eq!(take(111).await, next("m", &[("code", 1)]));
    // What is changed meanwhile begins anew, and nobody has to wait for it.
    put("code", "[2]").await;
    note(&[("code", 1)], None, 112).await;
    assert_eq!(take(112).await, next("", &[("code", 2)]));
    note(&[("code", 2)], None, 113).await;
    assert_eq!(take(113).await, Rollout::Done);
    put("code", "[]").await;
    assert_eq!(store.template_list().await.expect("the store answers"), []);
    assert_eq!(take(114).await, next("", &[("code", 3)]), "it is taken away from all");
    note(&[("code", 3)], None, 115).await;
    assert_eq!(take(3600).await, Rollout::Done);
}
