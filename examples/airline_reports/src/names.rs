//! The names behind the codes of airlines and airports.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

const AIRLINES: &str = include_str!("../data/airlines.csv");
const AIRPORTS: &str = include_str!("../data/airports.csv");

/// Airports that the source of `airports.csv` leaves out, being outside the fifty states.
const ISLANDS: [(&str, &str); 4] = [
    ("BQN", "Rafael Hernández, Aguadilla"),
    ("PSE", "Mercedita, Ponce"),
    ("SJU", "Luis Muñoz Marín, San Juan"),
    ("STT", "Cyril E. King, St. Thomas"),
];

/// A name for each code.
pub(crate) type Names = BTreeMap<String, String>;

/// The airlines, by carrier code: from the file if there is one that can be read, else those we know.
pub(crate) fn airlines(file: Option<&Path>) -> Names {
    file.and_then(from_file).unwrap_or_else(|| from_csv(AIRLINES.as_bytes()).unwrap_or_default())
}

/// The airports, by FAA code: from the file if there is one that can be read, else those we know.
pub(crate) fn airports(file: Option<&Path>) -> Names {
    let mut names =
        file.and_then(from_file).unwrap_or_else(|| from_csv(AIRPORTS.as_bytes()).unwrap_or_default());
    for (code, name) in ISLANDS {
        names.entry(code.to_owned()).or_insert_with(|| name.to_owned());
    }
    names
}

/// A file of names lies with the flights or beside their directory.
pub(crate) fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    [directory.join(name), directory.join("..").join(name)].into_iter().find(|path| path.is_file())
}

fn from_file(path: &Path) -> Option<Names> {
    from_csv(std::fs::File::open(path).ok()?)
}

/// The first two columns, code and name. Names are an ornament: a file that cannot be read is as good as
/// none.
fn from_csv(source: impl Read) -> Option<Names> {
    let mut names = Names::new();
    for row in csv::ReaderBuilder::new().flexible(true).from_reader(source).records() {
        let row = row.ok()?;
        if let (Some(code), Some(name)) = (row.get(0), row.get(1)) {
            names.insert(code.to_owned(), name.to_owned());
        }
    }
    (!names.is_empty()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_without_a_file() {
        assert_eq!(airlines(None)["AA"], "American Airlines Inc.");
        let airports = airports(Some(Path::new("/nowhere.csv")));
        assert_eq!(airports["MIA"], "Miami Intl");
        assert_eq!(airports["SJU"], "Luis Muñoz Marín, San Juan");
    }

    #[test]
    fn a_file_is_found_with_the_flights_or_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let flights = dir.path().join("flights");
        std::fs::create_dir(&flights).unwrap();
        assert_eq!(find(&flights, "airlines.csv"), None);
        std::fs::write(dir.path().join("airlines.csv"), "carrier,name\nZZ,Zeppelin\n").unwrap();
        let found = find(&flights, "airlines.csv").unwrap();
        assert_eq!(airlines(Some(&found)), Names::from([("ZZ".to_owned(), "Zeppelin".to_owned())]));
    }
}
