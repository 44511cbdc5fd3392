//! Attempts and waits over time, as strips of one scale. The shape tells an end before its colour does.

use cloacina::{AttemptOutcome, Timestamp};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::parts::text;

/// The width of a strip, in its own units.
const WIDTH: f64 = 900.0;
/// The shortest mark.
const SHORTEST: f64 = 5.0;
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

/// The marks of a task's latest attempts, with the pauses between them.
pub(super) fn attempts<'a>(
    most: usize,
    attempts: impl DoubleEndedIterator<Item = (Timestamp, Option<Timestamp>, AttemptOutcome)> + 'a,
) -> Vec<Mark> {
    let mut latest: Vec<_> = attempts.rev().take(most).collect();
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
    let now = axis.x(axis.now);
    let shows_now = axis.now >= axis.from && now < WIDTH;
    html! {
        svg.strip viewBox="0 0 900 20" preserveAspectRatio="none" aria-hidden="true" {
            path.rule d="M0 10H900M0 2v16M225 2v16M450 2v16M675 2v16M900 2v16" {}
            @for (class, dashes, shapes) in shapes(axis, marks) {
                path class=(class) d=(shapes) stroke-dasharray=[dashes] {}
            }
            @if shows_now { path.now d=(format!("M{} 0V20", rounded(now))) {} }
        }
    }
}

/// The shapes of marks, those of one class together.
fn shapes(axis: &Axis, marks: &[Mark]) -> Vec<(&'static str, Option<&'static str>, String)> {
    let span = |from: Timestamp, to: Timestamp| {
        let (left, right) = (axis.x(from), axis.x(to));
        let width = (right - left).max(SHORTEST);
        (left.min(WIDTH - width), width)
    };
    let thick = |left: f64, width: f64| format!("M{} 4h{w}v12h-{w}z", rounded(left), w = rounded(width));
    let mut shapes: Vec<(&'static str, Option<&'static str>, String)> = Vec::new();
    let mut add = |class: &'static str, dashes: Option<&'static str>, shape: &str| match shapes
        .iter_mut()
        .find(|(known, ..)| *known == class)
    {
        Some((.., drawn)) => drawn.push_str(shape),
        None => shapes.push((class, dashes, shape.to_owned())),
    };
    for mark in marks {
        match mark {
            Mark::Attempt { from, to, outcome } => {
                let (left, width) = span(*from, to.unwrap_or(axis.now));
                match outcome {
                    AttemptOutcome::Completed => add("done f", None, &thick(left, width)),
                    AttemptOutcome::Running => add("work f", None, &thick(left, width)),
                    AttemptOutcome::Failed | AttemptOutcome::Panicked | AttemptOutcome::TimedOut => {
                        // It ends at its full height.
                        let end = rounded((left + width - 2.0).min(WIDTH - 4.0));
                        add("fail f", None, &format!("{}M{end} 0h4v20h-4z", thick(left, width)));
                    }
                    AttemptOutcome::Lost => add("mind hollow", Some("3 2"), &thick(left, width)),
                    AttemptOutcome::Released | AttemptOutcome::Snoozed | AttemptOutcome::Cancelled => {
                        add("none hollow", None, &thick(left, width));
                    }
                }
            }
            Mark::Pause { from, to } => {
                let (left, width) = span(*from, *to);
                add("mind hair", None, &format!("M{} 10h{}", rounded(left), rounded(width)));
            }
            Mark::Wait { from, to } => {
                let (left, width) = span(*from, to.unwrap_or_else(|| axis.now.max(*from)));
                let width = rounded(width);
                add("wait f", None, &format!("M{} 8.5h{width}v3h-{width}z", rounded(left)));
            }
        }
    }
    shapes
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
        assert!(shown.contains("<path class=\"fail f\" d=\"M895 4h5v12h-5zM896 0h4v20h-4z\">"), "{shown}");
    }

    #[test]
    fn between_two_attempts_there_is_a_pause_and_old_ones_are_left_out() {
        let one = (at("14:00:00"), Some(at("14:01:00")), AttemptOutcome::Failed);
        let two = (at("14:02:00"), None, AttemptOutcome::Running);
        let marks = attempts(60, [one, two].into_iter());
        assert_eq!(marks.len(), 3);
        assert_eq!(marks[1], Mark::Pause { from: at("14:01:00"), to: at("14:02:00") });
        assert_eq!(attempts(60, std::iter::repeat_n(one, 10_000)).len(), 60);
    }
}
