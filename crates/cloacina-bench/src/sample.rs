//! Numbers that were measured several times.

use std::fmt;
use std::time::Duration;

/// The median of several runs with the smallest and the largest. A mean would carry every hiccup of a shared
/// machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.median.abs() {
            median if median >= 100.0 => 0,
            median if median >= 10.0 => 1,
            _ => 2,
        };
        let Self { median, least, most } = self;
        if (most - least).abs() < f64::EPSILON {
            write!(f, "{median:.digits$}")
        } else {
            write!(f, "{median:.digits$} ({least:.digits$}–{most:.digits$})")
        }
    }
}

/// The median of many latencies of one run, in microseconds.
pub(crate) fn p50(latencies: &mut [Duration]) -> f64 {
    latencies.sort_unstable();
    latencies.get(latencies.len() / 2).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn a_spread_is_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().to_string(), "1.50 (1.00–2.00)");
        assert_eq!(Spread::of([]), None);
    }
}
