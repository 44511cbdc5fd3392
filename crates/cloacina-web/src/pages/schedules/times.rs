//! Times that are still to come.

use cloacina::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::super::parts::text;

/// Times by the clocks of a zone.
pub(super) fn next_times(times: &[Timestamp], zone: Option<&str>, now: Timestamp) -> Markup {
    let zone = zone.and_then(|zone| TimeZone::get(zone).ok()).unwrap_or(TimeZone::UTC);
    let local =
        |time: Timestamp| time.to_zoned(zone.clone()).strftime("%a %-d %b %Y %H:%M:%S %Z").to_string();
    html! {
        @if times.is_empty() { p.soft { "There is none." } }
        @else { dl.facts { @for time in times { dt { (local(*time)) } dd.soft { (text::relative(*time, now)) } } } }
    }
}
