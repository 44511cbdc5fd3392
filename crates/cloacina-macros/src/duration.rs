//! Durations as they are written in arguments.

use std::time::Duration;

/// The units, the largest first, in milliseconds.
const UNITS: [(&str, u64); 5] =
    [("d", 24 * 60 * 60 * 1000), ("h", 60 * 60 * 1000), ("m", 60 * 1000), ("s", 1000), ("ms", 1)];

/// Far above anything sensible, far below what a point in time can be moved by.
const LONGEST: u64 = 366 * 24 * 60 * 60 * 1000;

/// Reads `"1h30m"`: whole numbers, each with a unit, the larger units first. Otherwise: what is wrong.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let malformed = || {
        format!(
            "`{}` is not a duration: write whole numbers with a unit (d, h, m, s, ms), the larger unit first, \
             such as \"250ms\", \"30s\", \"5m\" or \"1h30m\"",
            text.escape_debug()
        )
    };
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut total: u64 = 0;
    if text.is_empty() {
        return Err(malformed());
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |c| c.is_ascii_digit());
        let (unit, after) = split(after, |c| c.is_ascii_alphabetic());
        if number.is_empty() {
            return Err(malformed());
        }
        // What `units` has passed cannot come again: neither twice nor out of order.
        let (_, milliseconds) = units.find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(*milliseconds))
            .and_then(|part| total.checked_add(part))
            .filter(|total| *total <= LONGEST)
            .ok_or_else(|| format!("`{text}` is longer than 366 days"))?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text| parse(text).unwrap().as_millis();
        assert_eq!(
            ["250ms", "30s", "5m", "1h", "1h30m", "2d", "1d1h1m1s1ms", "0s", "0h0m", "0h1s"].map(read),
            [250, 30_000, 300_000, 3_600_000, 5_400_000, 172_800_000, 90_061_001, 0, 0, 1000]
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", " ", "30", "s", "30 s", "-1s", "1.5s", "1m1h", "1s1s", "1S", "1us", "1ms1", "1s ", "３s"]
        {
            assert!(parse(text).unwrap_err().contains("is not a duration"), "{text}");
        }
        for text in ["367d", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse(text).unwrap_err().contains("longer than"), "{text}");
        }
    }
}
