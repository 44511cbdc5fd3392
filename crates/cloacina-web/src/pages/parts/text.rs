//! Times, durations, sizes and ids as people read them.

use std::time::Duration;

use cloacina::tenants::TenantMetrics;
use cloacina::{Timestamp, Uuid};
use jiff::tz::TimeZone;
use maud::{Markup, html};

/// A number with separators: `122,634`.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A figure of a tenant, which is not counted further than some: `12`, `10,000+`.
pub(crate) fn counted(counted: u64) -> String {
    let more = if counted < TenantMetrics::MOST_COUNTED { "" } else { "+" };
    number(counted) + more
}

/// A number of things: `1 task`, `12 tasks`.
pub(crate) fn count(of: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(of), if of == 1 { one } else { many })
}

/// A duration in two units at most: `0.4 s`, `41 s`, `1 min 10 s`, `46 h 47 min`, `19 d 4 h`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |large: u64, large_unit, small: u64, small_unit| match small {
        0 => format!("{} {large_unit}", number(large)),
        small => format!("{} {large_unit} {small} {small_unit}", number(large)),
    };
    if duration < Duration::from_millis(1) {
        return "0 s".to_owned();
    }
    if duration < Duration::from_millis(100) {
        return format!("{} ms", duration.as_millis());
    }
    if seconds < 10 {
        return format!("{:.1} s", duration.as_secs_f64());
    }
    match (minutes, hours) {
        (0, _) => format!("{seconds} s"),
        (1..60, _) => two(minutes, "min", seconds % 60, "s"),
        (_, 0..48) => two(hours, "h", minutes % 60, "min"),
        _ => two(days, "d", hours % 24, "h"),
    }
}

/// How much time lies between two moments; nothing if they are in the other order.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> Duration {
    to.duration_since(from).try_into().unwrap_or_default()
}

fn form(time: Timestamp, form: &str) -> String {
    time.to_zoned(TimeZone::UTC).strftime(form).to_string()
}

/// A moment as precise as it is near: `15:13:24` today, `28 Nov 16:02`, `3 Mar 2024`.
pub(crate) fn moment(time: Timestamp, now: Timestamp) -> String {
    let day = |time| form(time, "%Y-%m-%d");
    let apart = between(time, now).max(between(now, time));
    if day(time) == day(now) {
        form(time, "%H:%M:%S")
    } else if apart < Duration::from_secs(300 * 86_400) {
        form(time, "%-d %b %H:%M")
    } else {
        form(time, "%-d %b %Y")
    }
}

/// The time of day alone.
pub(crate) fn clock(time: Timestamp) -> String {
    form(time, "%H:%M:%S")
}

/// A moment that is still to come, with its day: `Tue 1 Dec 14:02 UTC`.
pub(crate) fn day(time: Timestamp) -> String {
    form(time, "%a %-d %b %H:%M UTC")
}

/// All of a moment, for who looks twice.
pub(crate) fn exact(time: Timestamp) -> String {
    form(time, "%a %-d %b %Y %H:%M:%S UTC")
}

/// How far away a moment is: `in 1 min 10 s`, `4 s ago`, `now`.
pub(crate) fn relative(time: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (between(now, time), between(time, now));
    match (ahead.as_secs(), behind.as_secs()) {
        (0, 0) => "now".to_owned(),
        (0, _) => format!("{} ago", whole(behind)),
        _ => format!("in {}", whole(ahead)),
    }
}

/// The same as [`duration`], without parts of a second.
pub(crate) fn whole(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => duration(Duration::from_secs(seconds)),
    }
}

/// A moment, with all of it for machines and for who points at it.
pub(crate) fn time(time: Timestamp, shown: impl AsRef<str>) -> Markup {
    html! { time datetime=(time) title=(exact(time)) { (shown.as_ref()) } }
}

/// Cut in the middle: the end tells ids apart that began at one time.
pub(crate) fn short_id(id: Uuid) -> String {
    let id = id.to_string();
    format!("{}…{}", &id[..8], &id[id.len() - 4..])
}

/// A size: `812 B`, `18.4 kB`, `41 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut size = bytes as f64;
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    for unit in ["kB", "MB", "GB"] {
        size /= 1_000.0;
        if size < 999.5 || unit == "GB" {
            return if size < 100.0 { format!("{size:.1} {unit}") } else { format!("{size:.0} {unit}") };
        }
    }
    String::new()
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        let shown = |milliseconds| duration(Duration::from_millis(milliseconds));
        assert_eq!(shown(0), "0 s");
        assert_eq!(shown(41), "41 ms");
        assert_eq!(shown(412), "0.4 s");
        assert_eq!(shown(3_140), "3.1 s");
        assert_eq!(shown(41_900), "41 s");
        assert_eq!(shown(70_000), "1 min 10 s");
        assert_eq!(shown(3_600_000), "1 h");
        assert_eq!(shown((46 * 60 + 47) * 60_000), "46 h 47 min");
        assert_eq!(shown((19 * 24 + 4) * 3_600_000), "19 d 4 h");
        assert_eq!(duration(Duration::from_secs(86_400 * 36_500)), "36,500 d");
    }

    #[test]
    fn moments_are_as_precise_as_they_are_near() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let now = at("2026-11-29T15:14:10Z");
        assert_eq!(moment(at("2026-11-29T15:13:24Z"), now), "15:13:24");
        assert_eq!(moment(at("2026-11-28T16:02:00Z"), now), "28 Nov 16:02");
        assert_eq!(moment(at("2024-03-03T16:02:00Z"), now), "3 Mar 2024");
        assert_eq!(relative(at("2026-11-29T15:15:20Z"), now), "in 1 min 10 s");
        assert_eq!(relative(at("2026-11-29T15:14:06Z"), now), "4 s ago");
        assert_eq!(relative(now, now), "now");
        assert_eq!(day(at("2026-12-01T14:02:00Z")), "Tue 1 Dec 14:02 UTC");
        let far = moment(Timestamp::MAX, now);
        assert!(far.contains("9999"), "{far}");
    }

    #[test]
    fn numbers_sizes_and_ids_are_short() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(122_634), "122,634");
        assert_eq!(count(1, "task", "tasks"), "1 task");
        assert_eq!(count(1_204_551, "task", "tasks"), "1,204,551 tasks");
        assert_eq!(bytes(812), "812 B");
        assert_eq!(bytes(18_412), "18.4 kB");
        assert_eq!(bytes(212_000_000_000), "212 GB");
        let id: Uuid = "01a2279c-d7c0-7c41-9d2a-5f0e8a61b2c3".parse().unwrap();
        assert_eq!(short_id(id), "01a2279c…b2c3");
        assert_eq!(cut("draft-invoices", 6), "draft…");
        assert_eq!(cut("draft", 6), "draft");
    }
}
