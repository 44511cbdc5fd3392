//! The times of a schedule in the last and the next three days, as a strip.

use cloacina::{ExecutionStatus, FireOutcome, FireRecord, Timestamp};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan, Unit, ZonedRound};
use maud::{Markup, html};

/// How many days there are, and how wide one is.
const DAYS: i64 = 7;
const DAY: f64 = 100.0;
/// From which distance on times are marks of their own, not a band.
const APART: f64 = 5.0;

/// Seven days, today in the middle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Week {
    from: Timestamp,
    now: Timestamp,
}

/// What a mark tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ran,
    Failed,
    Missed,
    Skipped,
    ToCome,
}

impl Week {
    pub(super) fn new(now: Timestamp) -> Self {
        let today = now
            .to_zoned(TimeZone::UTC)
            .round(ZonedRound::new().smallest(Unit::Day).mode(jiff::RoundMode::Trunc));
        let from = today.and_then(|today| today.checked_sub(3.days())).map_or(now, |from| from.timestamp());
        Self { from, now }
    }

    fn x(&self, time: Timestamp) -> Option<f64> {
        let days = time.duration_since(self.from).as_secs_f64() / 86_400.0;
        (0.0..DAYS as f64).contains(&days).then_some(days * DAY)
    }

    /// The heading of the column.
    pub(super) fn head(&self) -> Markup {
        let label = |day: i64| {
            let time = self.from.checked_add(SignedDuration::from_hours(24 * day)).unwrap_or(self.now);
            time.to_zoned(TimeZone::UTC)
                .strftime(if day == 0 || day == 3 { "%a %-d" } else { "%a" })
                .to_string()
        };
        html! { span.axis { @for day in 0..DAYS { span { (label(day)) } } } }
    }

    /// A schedule's times.
    pub(super) fn strip(&self, fires: &[FireRecord], next: &[Timestamp]) -> Markup {
        let mut marks: Vec<(f64, Kind)> =
            fires.iter().filter_map(|fire| Some((self.x(fire.nominal)?, kind(fire)))).collect();
        marks.extend(next.iter().filter_map(|time| Some((self.x(*time)?, Kind::ToCome))));
        marks.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        let told = told(&marks);
        let now = self.x(self.now).unwrap_or(350.0);
        html! {
            svg.strip viewBox="0 0 700 22" preserveAspectRatio="none" role="img" aria-label=(told) {
                path.rule d="M0 11H700M0 3v16M100 3v16M200 3v16M300 3v16M400 3v16M500 3v16M600 3v16M700 3v16" {}
                @for (from, to, kind) in bands(&marks) { (mark(from, to, kind)) }
                path.now d=(format!("M{now:.1} 0V22")) {}
            }
        }
    }
}

fn kind(fire: &FireRecord) -> Kind {
    match (fire.outcome, fire.status) {
        (FireOutcome::Started | FireOutcome::Repeated, Some(ExecutionStatus::Failed)) => Kind::Failed,
        (FireOutcome::Started | FireOutcome::Repeated | FireOutcome::Buffered, _) => Kind::Ran,
        (FireOutcome::Missed | FireOutcome::Refused | FireOutcome::Dropped, _) => Kind::Missed,
        _ => Kind::Skipped,
    }
}

/// Times of one kind that are close to each other are one band.
fn bands(marks: &[(f64, Kind)]) -> Vec<(f64, f64, Kind)> {
    let mut bands: Vec<(f64, f64, Kind)> = Vec::new();
    for &(x, kind) in marks {
        match bands.last_mut() {
            Some((_, to, last)) if *last == kind && x - *to < APART => *to = x,
            _ => bands.push((x, x, kind)),
        }
    }
    bands
}

fn mark(from: f64, to: f64, kind: Kind) -> Markup {
    let (x, width) = (format!("{from:.1}"), format!("{:.1}", (to - from).max(4.0)));
    let is_band = to - from > 4.0;
    let (y, height) = if is_band { ("7", "8") } else { ("5", "12") };
    match kind {
        Kind::Ran => html! { rect.done.f x=(x) y=(y) width=(width) height=(height) {} },
        Kind::Failed => html! { rect.fail.f x=(x) y="1" width=(width) height="20" {} },
        Kind::Missed => html! { path.mind.hollow d=(format!("M{x} 5.5h{width}v11h-{width}z")) {} },
        Kind::Skipped => html! { rect.none.f x=(x) y="9" width=(width) height="4" {} },
        Kind::ToCome => html! { rect.none.f.dim x=(x) y=(y) width=(width) height=(height) {} },
    }
}

fn told(marks: &[(f64, Kind)]) -> String {
    let count = |kind: Kind| marks.iter().filter(|(_, other)| *other == kind).count();
    let parts = [
        (count(Kind::Ran), "ran"),
        (count(Kind::Failed), "failed"),
        (count(Kind::Missed), "missed"),
        (count(Kind::Skipped), "skipped"),
        (count(Kind::ToCome), "to come"),
    ];
    let parts: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if parts.is_empty() { "nothing in these seven days".to_owned() } else { parts.join(", ") }
}

/// What the marks mean.
pub(super) fn legend() -> Markup {
    let kinds = [
        (Kind::Ran, "ran"),
        (Kind::Failed, "ran and failed"),
        (Kind::Missed, "missed"),
        (Kind::Skipped, "skipped"),
        (Kind::ToCome, "to come"),
    ];
    html! {
        p.legend {
            @for (kind, label) in kinds { span { svg viewBox="0 0 32 22" aria-hidden="true" { (mark(14.0, 18.0, kind)) } (label) } }
            span { "One band where times are close. The axis is in UTC." }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_close_are_one_band_and_those_of_another_kind_are_not() {
        let marks =
            [(0.0, Kind::Ran), (4.0, Kind::Ran), (8.0, Kind::Ran), (9.0, Kind::Failed), (40.0, Kind::Ran)];
        assert_eq!(bands(&marks), [(0.0, 8.0, Kind::Ran), (9.0, 9.0, Kind::Failed), (40.0, 40.0, Kind::Ran)]);
        assert_eq!(told(&marks), "4 ran, 1 failed");
        assert_eq!(told(&[]), "nothing in these seven days");
    }

    #[test]
    fn today_is_in_the_middle_and_what_is_outside_is_left_out() {
        let week = Week::new("2026-11-29T15:14:10Z".parse().unwrap());
        assert_eq!(week.from, "2026-11-26T00:00:00Z".parse().unwrap());
        assert!(week.head().into_string().contains("<span>Sun 29</span>"));
        assert_eq!(week.x("2026-11-25T23:59:59Z".parse().unwrap()), None);
        assert_eq!(week.x("2026-12-03T00:00:00Z".parse().unwrap()), None);
        assert_eq!(week.x("2026-11-27T12:00:00Z".parse().unwrap()), Some(150.0));
    }
}
