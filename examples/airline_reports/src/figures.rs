//! The figures of a set of flights: how many, and how late.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flights::Outcome;

/// A flight that arrives this many minutes after its schedule, or later, is late. The US Bureau of
/// Transportation Statistics calls a flight on time if it is *less* than 15 minutes late.
pub(crate) const LATE_MINUTES: i32 = 15;

/// Flights while they are being counted.
///
/// Delays are whole minutes, so a count per minute gives exact quantiles in the memory of a few hundred
/// numbers, however many flights there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    cancelled: u64,
    not_arrived: u64,
    delays: BTreeMap<i32, u64>,
}

impl Tally {
    /// Counts one flight.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Cancelled => self.cancelled += 1,
            Outcome::NotArrived => self.not_arrived += 1,
            Outcome::Arrived { delay } => *self.delays.entry(delay).or_default() += 1,
        }
    }

    /// The figures of the flights counted so far.
    pub(crate) fn figures(&self) -> Figures {
        let arrived: u64 = self.delays.values().sum();
        let total: i64 =
            self.delays.iter().map(|(&delay, &count)| i64::from(delay) * count.cast_signed()).sum();
        let late = self.delays.range(LATE_MINUTES..).map(|(_, count)| count).sum();
        let of_arrived = |value: f64| (arrived > 0).then(|| rounded(value / arrived as f64));
        Figures {
            flights: arrived + self.cancelled + self.not_arrived,
            cancelled: self.cancelled,
            not_arrived: self.not_arrived,
            arrived,
            late,
            late_share: of_arrived(late as f64),
            mean_delay_minutes: of_arrived(total as f64),
            median_delay_minutes: self.quantile(0.5, arrived),
            p90_delay_minutes: self.quantile(0.9, arrived),
        }
    }

    /// The quantile between the two nearest delays, linearly: what R, NumPy and pandas give by default.
    fn quantile(&self, share: f64, arrived: u64) -> Option<f64> {
        let position = share * arrived.checked_sub(1)? as f64;
        let below = self.nth(position.floor() as u64)?;
        let above = self.nth(position.ceil() as u64)?;
        Some(rounded(below + (above - below) * position.fract()))
    }

    fn nth(&self, index: u64) -> Option<f64> {
        let mut seen = 0;
        self.delays.iter().find_map(|(&delay, count)| {
            seen += count;
            (index < seen).then(|| f64::from(delay))
        })
    }
}

/// To four digits, more than anybody asks for: so that a figure reads well in JSON, and comes back from it
/// unchanged.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// How many flights, and how late those that arrived were.
///
/// The delay is the one at the destination; a flight that came early counts with a negative delay. Without a
/// single arrival there is no delay to speak of, and those figures are absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// All flights, whatever became of them.
    pub(crate) flights: u64,
    /// Flights that never left.
    pub(crate) cancelled: u64,
    /// Flights that left and have no delay at their destination on record.
    pub(crate) not_arrived: u64,
    /// Flights with a delay: the base of everything below.
    pub(crate) arrived: u64,
    /// Arrivals 15 minutes late or more.
    pub(crate) late: u64,
    /// `late` as a share of `arrived`, 0 to 1.
    pub(crate) late_share: Option<f64>,
    /// The mean delay.
    pub(crate) mean_delay_minutes: Option<f64>,
    /// Half of the arrivals had at most this delay.
    pub(crate) median_delay_minutes: Option<f64>,
    /// Nine of ten arrivals had at most this delay.
    pub(crate) p90_delay_minutes: Option<f64>,
}

/// The figures of the flights that share a month, an hour or a destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group<K> {
    /// What the flights share.
    pub(crate) key: K,
    /// Their figures.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// Flights counted by what they share.
#[derive(Debug, Clone)]
pub(crate) struct Tallies<K>(BTreeMap<K, Tally>);

impl<K> Default for Tallies<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Tallies<K> {
    /// Counts one flight under its key.
    pub(crate) fn add<Q>(&mut self, key: &Q, outcome: Outcome)
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        // A key is made owned once, not for each of its flights.
        match self.0.get_mut(key) {
            Some(tally) => tally.add(outcome),
            None => self.0.entry(key.to_owned()).or_default().add(outcome),
        }
    }

    /// The figures of each group, in the order of the keys.
    pub(crate) fn groups(self) -> Vec<Group<K>> {
        self.0.into_iter().map(|(key, tally)| Group { key, figures: tally.figures() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(delays: &[i32]) -> Figures {
        let mut tally = Tally::default();
        for &delay in delays {
            tally.add(Outcome::Arrived { delay });
        }
        tally.figures()
    }

    #[test]
    fn quantiles_lie_between_the_nearest_delays() {
        let four = figures(&[40, -10, 0, 10]);
        assert_eq!(four.mean_delay_minutes, Some(10.0));
        assert_eq!(four.median_delay_minutes, Some(5.0));
        assert_eq!(four.p90_delay_minutes, Some(31.0));
        assert_eq!(figures(&[3]).p90_delay_minutes, Some(3.0));
        assert_eq!(figures(&[1, 1, 1, 9]).median_delay_minutes, Some(1.0));
    }

    #[test]
    fn late_begins_at_fifteen_minutes() {
        let four = figures(&[14, 15, 16, -3]);
        assert_eq!((four.late, four.late_share), (2, Some(0.5)));
    }

    #[test]
    fn flights_that_did_not_arrive_count_as_flights_and_have_no_delay() {
        let mut tally = Tally::default();
        tally.add(Outcome::Cancelled);
        tally.add(Outcome::NotArrived);
        let figures = tally.figures();
        assert_eq!((figures.flights, figures.cancelled, figures.not_arrived, figures.arrived), (2, 1, 1, 0));
        assert_eq!(
            (figures.mean_delay_minutes, figures.median_delay_minutes, figures.late_share),
            (None, None, None)
        );
    }

    #[test]
    fn groups_come_in_the_order_of_their_keys_and_survive_json() {
        let mut tallies = Tallies::<String>::default();
        tallies.add("MIA", Outcome::Arrived { delay: 2 });
        tallies.add("ATL", Outcome::Cancelled);
        tallies.add("MIA", Outcome::Arrived { delay: 4 });
        let groups = tallies.groups();
        assert_eq!(groups.iter().map(|group| group.key.as_str()).collect::<Vec<_>>(), ["ATL", "MIA"]);
        assert_eq!(groups[1].figures.mean_delay_minutes, Some(3.0));
        let text = serde_json::to_string(&groups).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Group<String>>>(&text).unwrap(), groups);
    }
}
