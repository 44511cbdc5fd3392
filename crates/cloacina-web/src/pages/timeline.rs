//! Attempts and waits over time, as strips of one scale. The shape tells an end before its colour does.

use std::time::Duration;

use cloacina::{AttemptOutcome, Timestamp};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::parts::text;

/// The width of a strip, in its own units.
const WIDTH: f64 = 900.0;
/// The shortest mark.
const SHORTEST: f64 = 5.0;
/// How many marks of a task are drawn, the latest ones.
const MARKS: usize = 60;
/// How long the quarter of an axis may be, in milliseconds.
const STEPS: &[i64] = &[
    10,
    20,
    50,
    100,
    200,
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    15_000,
    30_000,
    60_000,
    120_000,
    300_000,
    600_000,
    1_200_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    43_200_000,
    86_400_000,
    172_800_000,
    604_800_000,
    2_592_000_000,
    7_776_000_000,
    31_536_000_000,
];

/// What all strips of a page share: the time that they show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    from: Timestamp,
    /// The length of a quarter, in milliseconds.
    step: i64,
    now: Timestamp,
}

/// Something on a strip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// An attempt; it has no end if it runs.
    Attempt { from: Timestamp, to: Option<Timestamp>, outcome: AttemptOutcome },
    /// Until the next attempt.
    Pause { from: Timestamp, to: Timestamp },
    /// A wait without a slot; it has no end if it is open and has none.
    Wait { from: Timestamp, to: Option<Timestamp> },
}

impl Axis {
    /// An axis from the first moment to the last one, or to now.
    pub(super) fn new(from: Timestamp, to: Timestamp, now: Timestamp) -> Self {
        let span = to.duration_since(from).as_millis().max(1);
        let longest = STEPS.last().copied().unwrap_or(1);
        let fits = |step: &&i64| {
            let start = floor(from, **step);
            to.duration_since(start).as_millis() <= i128::from(**step) * 4
        };
        // Beyond the longest step the axis has no round numbers.
        let step = STEPS
            .iter()
            .find(fits)
            .copied()
            .unwrap_or_else(|| i64::try_from(span / 4 + 1).unwrap_or(i64::MAX).max(longest));
        Self { from: floor(from, step), step, now }
    }

    fn x(&self, time: Timestamp) -> f64 {
        let passed = time.duration_since(self.from).as_millis() as f64;
        (passed / (self.step as f64 * 4.0) * WIDTH).clamp(0.0, WIDTH)
    }

    /// Its four labels.
    pub(super) fn labels(&self) -> Vec<String> {
        let form = match self.step {
            0..1_000 => "%H:%M:%S%.3f",
            1_000..60_000 => "%H:%M:%S",
            60_000..43_200_000 => "%H:%M",
            _ => "%-d %b",
        };
        (0..4)
            .map(|quarter| {
                let time = self.from.checked_add(SignedDuration::from_millis(self.step * quarter));
                let time = time.unwrap_or(Timestamp::MAX);
                time.to_zoned(TimeZone::UTC).strftime(form).to_string()
            })
            .collect()
    }

    /// The heading of the column of strips.
    pub(super) fn head(&self) -> Markup {
        html! { span.axis { @for label in self.labels() { span { (label) } } } }
    }
}

fn floor(time: Timestamp, step: i64) -> Timestamp {
    let milliseconds = time.as_millisecond();
    Timestamp::from_millisecond(milliseconds - milliseconds.rem_euclid(step)).unwrap_or(time)
}

/// The marks of a task's attempts, with the pauses between them.
pub(super) fn attempts<'a>(
    attempts: impl DoubleEndedIterator<Item = (Timestamp, Option<Timestamp>, AttemptOutcome)> + 'a,
) -> Vec<Mark> {
    let mut latest: Vec<_> = attempts.rev().take(MARKS).collect();
    latest.reverse();
    let mut marks = Vec::with_capacity(latest.len() * 2);
    let mut ended: Option<Timestamp> = None;
    for (from, to, outcome) in latest {
        if let Some(ended) = ended.filter(|ended| *ended < from) {
            marks.push(Mark::Pause { from: ended, to: from });
        }
        marks.push(Mark::Attempt { from, to, outcome });
        ended = to;
    }
    marks
}

fn rounded(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// A strip. The column beside it says in words what it shows.
pub(super) fn strip(axis: &Axis, marks: &[Mark]) -> Markup {
    let span = |from: Timestamp, to: Timestamp| {
        let (left, right) = (axis.x(from), axis.x(to));
        let width = (right - left).max(SHORTEST);
        (left.min(WIDTH - width), width)
    };
    let now = axis.x(axis.now);
    let shows_now = axis.now >= axis.from && now < WIDTH;
    html! {
        svg.strip viewBox="0 0 900 20" preserveAspectRatio="none" aria-hidden="true" {
            path.rule d="M0 10H900M0 2v16M225 2v16M450 2v16M675 2v16M900 2v16" {}
            @for mark in marks {
                @match mark {
                    Mark::Attempt { from, to, outcome } => {
                        @let (left, width) = span(*from, to.unwrap_or(axis.now));
                        (attempt(left, width, *outcome))
                    }
                    Mark::Pause { from, to } => {
                        @let (left, width) = span(*from, *to);
                        path.mind.hair d=(format!("M{} 10h{}", rounded(left), rounded(width))) {}
                    }
                    Mark::Wait { from, to } => {
                        @let end = to.unwrap_or_else(|| axis.now.max(*from));
                        @let (left, width) = span(*from, end);
                        rect.wait.f x=(rounded(left)) y="8.5" width=(rounded(width)) height="3" {}
                    }
                }
            }
            @if shows_now { path.now d=(format!("M{} 0V20", rounded(now))) {} }
        }
    }
}

fn attempt(left: f64, width: f64, outcome: AttemptOutcome) -> Markup {
    let (x, wide) = (rounded(left), rounded(width));
    let thick = |class: &str| html! { rect class={ (class) " f" } x=(x) y="4" width=(wide) height="12" {} };
    match outcome {
        AttemptOutcome::Completed => thick("done"),
        AttemptOutcome::Running => thick("work"),
        AttemptOutcome::Failed | AttemptOutcome::Panicked | AttemptOutcome::TimedOut => html! {
            (thick("fail"))
            path.fail.f d=(format!("M{} 0h4v20h-4z", rounded((left + width - 2.0).min(WIDTH - 4.0)))) {}
        },
        AttemptOutcome::Lost => html! {
            path.mind.hollow d=(format!("M{x} 4.5h{wide}v11h-{wide}z")) stroke-dasharray="3 2" {}
        },
        AttemptOutcome::Released | AttemptOutcome::Snoozed | AttemptOutcome::Cancelled => html! {
            path.none.hollow d=(format!("M{x} 4.5h{wide}v11h-{wide}z")) {}
        },
    }
}

/// What the marks of strips mean.
pub(super) fn legend(now: Timestamp) -> Markup {
    let entry = |class: &str, shape: Markup, label: &str| {
        html! { span { svg class=(class) viewBox="0 0 32 12" aria-hidden="true" { (shape) } (label) } }
    };
    html! {
        p.legend {
            (entry("done", html! { rect.f y="1" width="32" height="10" {} }, "attempt, completed"))
            (entry("work", html! { rect.f y="1" width="32" height="10" {} }, "runs"))
            (entry("fail", html! { path.f d="M0 2h32v8H0zM29 0h3v12h-3z" {} }, "attempt, failed"))
            (entry("mind", html! { path.hollow d="M1 2h30v8H1z" stroke-dasharray="3 2" {} }, "attempt, lost with its runner"))
            (entry("mind", html! { path.hair d="M0 6h32" {} }, "until the next attempt"))
            (entry("wait", html! { rect.f y="4.5" width="32" height="3" {} }, "waits, without a slot"))
            (entry("none", html! { path.now d="M16 0v12" {} }, &format!("now, {} UTC", text::clock(now))))
        }
    }
}

/// How long the attempts of marks took together.
pub(super) fn worked(marks: &[Mark], now: Timestamp) -> Duration {
    let took = |mark: &Mark| match mark {
        Mark::Attempt { from, to, .. } => text::between(*from, to.unwrap_or(now)),
        Mark::Pause { .. } | Mark::Wait { .. } => Duration::ZERO,
    };
    marks.iter().map(took).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        format!("2026-11-29T{text}Z").parse().unwrap()
    }

    #[test]
    fn an_axis_begins_and_goes_on_in_round_numbers() {
        let axis = Axis::new(at("14:01:55"), at("15:14:10"), at("15:14:10"));
        assert_eq!(axis.labels(), ["14:00", "14:20", "14:40", "15:00"]);
        let short = Axis::new(at("14:01:55"), at("14:01:56.4"), at("15:14:10"));
        assert_eq!(short.labels(), ["14:01:55.000", "14:01:55.500", "14:01:56.000", "14:01:56.500"]);
        let instant = Axis::new(at("14:01:55"), at("14:01:55"), at("14:01:55"));
        assert_eq!(instant.step, 10);
        let long = Axis::new(Timestamp::UNIX_EPOCH, Timestamp::MAX, Timestamp::UNIX_EPOCH);
        assert_eq!(long.labels().len(), 4);
    }

    #[test]
    fn strips_stay_within_their_width_whatever_the_times_are() {
        let axis = Axis::new(at("14:00:00"), at("15:00:00"), at("14:30:00"));
        assert_eq!(axis.x(at("14:00:00")), 0.0);
        assert_eq!(axis.x(at("13:00:00")), 0.0);
        assert_eq!(axis.x(Timestamp::MAX), WIDTH);
        let marks = [
            Mark::Attempt { from: at("15:19:59"), to: Some(at("15:20:00")), outcome: AttemptOutcome::Failed },
            Mark::Wait { from: at("14:30:00"), to: Some(Timestamp::MAX) },
        ];
        let shown = strip(&axis, &marks).into_string();
        assert!(shown.contains("class=\"fail f\""), "{shown}");
        assert!(shown.contains("M896 0h4v20h-4z") || shown.contains("0h4v20h-4z"), "{shown}");
    }

    #[test]
    fn between_two_attempts_there_is_a_pause_and_old_ones_are_left_out() {
        let one = (at("14:00:00"), Some(at("14:01:00")), AttemptOutcome::Failed);
        let two = (at("14:02:00"), None, AttemptOutcome::Running);
        let marks = attempts([one, two].into_iter());
        assert_eq!(marks.len(), 3);
        assert_eq!(marks[1], Mark::Pause { from: at("14:01:00"), to: at("14:02:00") });
        assert_eq!(worked(&marks, at("14:02:30")), Duration::from_secs(90));
        assert_eq!(attempts(std::iter::repeat_n(one, 10_000)).len(), MARKS);
    }
}
