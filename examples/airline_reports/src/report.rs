//! The report of one airline: its parts, and how they are joined.

pub(crate) mod chart;
pub(crate) mod index;
pub(crate) mod page;
mod text;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::figures::{Figures, Group, Tallies, Tally};
use crate::flights::{self, ReadError, Rows};
use crate::inputs::Source;
use crate::names::Names;

pub(crate) use write::{is_written, write_atomically, write_json, write_page};

/// What the first pass over an airline's file tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Inventory {
    /// Rows read, and passed over.
    pub(crate) rows: Rows,
    /// The first and the last year, if the file names years.
    pub(crate) years: Option<(i32, i32)>,
    /// How many flights left from each airport, if the file names origins.
    pub(crate) origins: BTreeMap<String, u64>,
    /// The figures of all flights.
    pub(crate) total: Figures,
}

/// The first pass: counts everything once, so that the other passes can be held against it.
pub(crate) fn inventory(path: &Path, carrier: &str) -> Result<Inventory, ReadError> {
    let mut total = Tally::default();
    let mut years: Option<(i32, i32)> = None;
    let mut origins: BTreeMap<String, u64> = BTreeMap::new();
    let rows = flights::read(path, carrier, |flight| {
        total.add(flight.outcome);
        if let Some(year) = flight.year {
            years = Some(years.map_or((year, year), |(first, last)| (first.min(year), last.max(year))));
        }
        if let Some(origin) = flight.origin {
            match origins.get_mut(origin) {
                Some(count) => *count += 1,
                None => {
                    origins.insert(origin.to_owned(), 1);
                }
            }
        }
    })?;
    Ok(Inventory { rows, years, origins, total: total.figures() })
}

/// The figures of each month, 1 to 12.
pub(crate) fn by_month(path: &Path, carrier: &str) -> Result<Vec<Group<u8>>, ReadError> {
    let mut tallies = Tallies::<u8>::default();
    flights::read(path, carrier, |flight| tallies.add(&flight.month, flight.outcome))?;
    Ok(tallies.groups())
}

/// The figures of each hour of scheduled departure, 0 to 23.
pub(crate) fn by_hour(path: &Path, carrier: &str) -> Result<Vec<Group<u8>>, ReadError> {
    let mut tallies = Tallies::<u8>::default();
    flights::read(path, carrier, |flight| tallies.add(&flight.hour, flight.outcome))?;
    Ok(tallies.groups())
}

/// The figures of each destination, by its code.
pub(crate) fn by_destination(path: &Path, carrier: &str) -> Result<Vec<Group<String>>, ReadError> {
    let mut tallies = Tallies::<String>::default();
    flights::read(path, carrier, |flight| tallies.add(flight.dest, flight.outcome))?;
    Ok(tallies.groups())
}

/// An airport that the airline flies to, and how well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Destination {
    /// The airport's code.
    pub(crate) code: String,
    /// Its name, or the code again where no name is known.
    pub(crate) name: String,
    /// The figures of the flights there.
    #[serde(flatten)]
    pub(crate) figures: Figures,
}

/// Everything about one airline; `<carrier>.json` is this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// The airline's code.
    pub(crate) carrier: String,
    /// Its name, or the code again where no name is known.
    pub(crate) airline: String,
    /// The file that the report was made from.
    pub(crate) source: Source,
    /// Rows read, and passed over.
    pub(crate) rows: Rows,
    /// The first and the last year, if known.
    pub(crate) years: Option<(i32, i32)>,
    /// The names of the airports that the flights left from.
    pub(crate) origins: Vec<String>,
    /// The figures of all flights.
    pub(crate) total: Figures,
    /// Month 1 to 12.
    pub(crate) by_month: Vec<Group<u8>>,
    /// Hour of scheduled departure, 0 to 23, local time.
    pub(crate) by_hour: Vec<Group<u8>>,
    /// Destinations, the one with the most flights first.
    pub(crate) by_destination: Vec<Destination>,
}

/// The figures that the parallel tasks found.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parts {
    /// From [`inventory`].
    pub(crate) inventory: Inventory,
    /// From [`by_month`].
    pub(crate) by_month: Vec<Group<u8>>,
    /// From [`by_hour`].
    pub(crate) by_hour: Vec<Group<u8>>,
    /// From [`by_destination`].
    pub(crate) by_destination: Vec<Group<String>>,
}

/// Puts the parts together.
///
/// Each part was counted in a pass of its own, so each must have seen the same flights as the inventory; if
/// not, the file was changed in between, and a report of it would be of two files.
pub(crate) fn join(
    carrier: &str,
    airline: &str,
    source: Source,
    parts: Parts,
    airports: &Names,
) -> anyhow::Result<Report> {
    let Parts { inventory, by_month, by_hour, by_destination } = parts;
    agrees("months", &inventory.total, by_month.iter().map(|group| &group.figures))?;
    agrees("hours", &inventory.total, by_hour.iter().map(|group| &group.figures))?;
    agrees("destinations", &inventory.total, by_destination.iter().map(|group| &group.figures))?;

    let name = |code: String| airports.get(&code).cloned().unwrap_or(code);
    let mut by_destination: Vec<_> = by_destination
        .into_iter()
        .map(|Group { key: code, figures }| Destination { name: name(code.clone()), code, figures })
        .collect();
    // The sort is stable, so equals stay in the order of their codes.
    by_destination.sort_by_key(|destination| std::cmp::Reverse(destination.figures.flights));
    let mut origins: Vec<_> = inventory.origins.into_iter().collect();
    origins.sort_by_key(|&(_, flights)| std::cmp::Reverse(flights));
    Ok(Report {
        carrier: carrier.to_owned(),
        airline: airline.to_owned(),
        source,
        rows: inventory.rows,
        years: inventory.years,
        origins: origins.into_iter().map(|(code, _)| name(code)).collect(),
        total: inventory.total,
        by_month,
        by_hour,
        by_destination,
    })
}

fn agrees<'a>(what: &str, total: &Figures, groups: impl Iterator<Item = &'a Figures>) -> anyhow::Result<()> {
    let (mut flights, mut cancelled, mut late) = (0, 0, 0);
    for figures in groups {
        flights += figures.flights;
        cancelled += figures.cancelled;
        late += figures.late;
    }
    ensure!(
        (flights, cancelled, late) == (total.flights, total.cancelled, total.late),
        "the file was changed while it was read: its {what} hold {flights} flights, the inventory {}",
        total.flights
    );
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;
    use crate::names;

    /// The report of an airline in the extract that comes with the example.
    pub(crate) fn of_extract(file: &str) -> Report {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(file);
        let carrier = &file[..2];
        let parts = parts(&path, carrier);
        let airline = &names::airlines(None)[carrier];
        join(carrier, airline, Source::of(&path).unwrap(), parts, &names::airports(None)).unwrap()
    }

    fn parts(path: &Path, carrier: &str) -> Parts {
        Parts {
            inventory: inventory(path, carrier).unwrap(),
            by_month: by_month(path, carrier).unwrap(),
            by_hour: by_hour(path, carrier).unwrap(),
            by_destination: by_destination(path, carrier).unwrap(),
        }
    }

    #[test]
    fn the_figures_are_those_that_another_program_finds() {
        let hawaiian = of_extract("HA.csv.gz");
        let figures = &hawaiian.total;
        assert_eq!((figures.flights, figures.cancelled, figures.not_arrived, figures.late), (342, 0, 0, 44));
        assert_eq!(figures.mean_delay_minutes, Some(-6.9152));
        assert_eq!((figures.median_delay_minutes, figures.p90_delay_minutes), (Some(-13.0), Some(19.9)));
        assert_eq!(hawaiian.by_destination.len(), 1);
        assert_eq!(hawaiian.by_destination[0].name, "Honolulu Intl");
        assert_eq!(hawaiian.origins, ["John F Kennedy Intl"]);
        assert_eq!(hawaiian.years, Some((2013, 2013)));

        let american = of_extract("AA.csv.gz").total;
        assert_eq!((american.flights, american.cancelled, american.not_arrived), (2728, 44, 13));
        assert_eq!((american.late, american.mean_delay_minutes), (520, Some(0.9517)));
    }

    #[test]
    fn a_report_survives_json() {
        let report = of_extract("AA.csv.gz");
        let text = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }

    #[test]
    fn parts_of_two_versions_of_a_file_are_not_joined() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("AA.csv");
        let header = "month,dep_time,arr_delay,carrier,dest,hour\n";
        fs::write(&path, format!("{header}1,542,33,AA,MIA,5\n")).unwrap();
        let mut parts = parts(&path, "AA");
        fs::write(&path, format!("{header}1,542,33,AA,MIA,5\n2,NA,NA,AA,MIA,5\n")).unwrap();
        parts.by_hour = by_hour(&path, "AA").unwrap();
        let error = join("AA", "AA", Source::of(&path).unwrap(), parts, &Names::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file was changed while it was read: its hours hold 2 flights, the inventory 1"
        );
    }

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("AA.json");
        write_atomically(&path, "old").unwrap();
        write_atomically(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_atomically(&dir.path().join("none/AA.json"), "x").is_err());
    }
}
