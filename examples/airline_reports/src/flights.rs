//! Reads the flights of one airline from a `.csv` or `.csv.gz` file, one row at a time.
//!
//! A file is never held in memory: the caller is shown each flight once, and rows that are not a flight of
//! this airline are counted and passed over, so that one bad line does not cost a year's report.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

/// The columns that every figure needs; `year` and `origin` are used where they are present.
const NEEDED: [&str; 6] = ["month", "dep_time", "arr_delay", "carrier", "dest", "hour"];

/// A delay of more than a week, either way, is a broken row and not a delay.
const LONGEST_DELAY_MINUTES: i32 = 7 * 24 * 60;

/// How many broken rows are described; the others are only counted.
const BROKEN_ROWS_SHOWN: usize = 5;

/// One flight of the airline, borrowed from the row it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flight<'row> {
    /// The year, if the file has that column.
    pub(crate) year: Option<i32>,
    /// 1 to 12.
    pub(crate) month: u8,
    /// The local hour of the scheduled departure, 0 to 23.
    pub(crate) hour: u8,
    /// The code of the airport it leaves from, if the file has that column.
    pub(crate) origin: Option<&'row str>,
    /// The code of the airport it goes to.
    pub(crate) dest: &'row str,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// What became of a flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It never left: no `dep_time`.
    Cancelled,
    /// It left and has no delay at its destination: it was diverted, or its arrival was not recorded.
    NotArrived,
    /// It arrived, `delay` minutes after its schedule; negative is early.
    Arrived {
        /// Minutes after the scheduled arrival.
        delay: i32,
    },
}

/// What a pass over a file saw besides the flights.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rows {
    /// All rows after the header.
    pub(crate) read: u64,
    /// Rows that could not be parsed or are another airline's.
    pub(crate) broken: u64,
    /// The first few of the broken rows.
    pub(crate) first_broken: Vec<BrokenRow>,
}

/// A row that was passed over, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BrokenRow {
    /// The line in the (unpacked) file, from 1.
    pub(crate) line: u64,
    /// Why it is not a flight of this airline.
    pub(crate) reason: String,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file holds nothing, not even a header.
    #[error("the file is empty")]
    Empty,
    /// The header lacks columns that the figures need.
    #[error("the header lacks the column{} {}", if .0.len() == 1 { "" } else { "s" }, .0.join(", "))]
    MissingColumns(Vec<&'static str>),
    /// The file could not be opened, read or unpacked.
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl ReadError {
    /// Whether reading the same file again would end the same way.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Empty | Self::MissingColumns(_) => true,
            Self::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::IsADirectory
                    | io::ErrorKind::InvalidData
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::UnexpectedEof
            ),
        }
    }
}

impl From<csv::Error> for ReadError {
    fn from(error: csv::Error) -> Self {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Io(error),
            other => Self::Io(io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}"))),
        }
    }
}

/// Shows every flight of `carrier` in the file to `visit`, in the order of the file.
pub(crate) fn read(path: &Path, carrier: &str, visit: impl FnMut(Flight<'_>)) -> Result<Rows, ReadError> {
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(ReadError::Empty);
    }
    let mut file = BufReader::with_capacity(128 * 1024, file);
    // The first two bytes of gzip, whatever the file is called; a name that promises gzip is held to it.
    let is_gzip = path.extension().is_some_and(|extension| extension == "gz")
        || file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    if is_gzip {
        read_rows(MultiGzDecoder::new(file), carrier, visit)
    } else {
        read_rows(file, carrier, visit)
    }
}

fn read_rows(source: impl Read, carrier: &str, mut visit: impl FnMut(Flight<'_>)) -> Result<Rows, ReadError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).buffer_capacity(128 * 1024).from_reader(source);
    let columns = Columns::find(reader.byte_headers()?)?;
    let mut rows = Rows::default();
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record)? {
        rows.read += 1;
        match columns.flight(&record, carrier) {
            Ok(flight) => visit(flight),
            Err(reason) => {
                rows.broken += 1;
                if rows.first_broken.len() < BROKEN_ROWS_SHOWN {
                    let line = record.position().map_or(0, csv::Position::line);
                    rows.first_broken.push(BrokenRow { line, reason });
                }
            }
        }
    }
    Ok(rows)
}

/// Where in a row each column stands.
struct Columns {
    width: usize,
    year: Option<usize>,
    month: usize,
    hour: usize,
    dep_time: usize,
    arr_delay: usize,
    carrier: usize,
    origin: Option<usize>,
    dest: usize,
}

impl Columns {
    fn find(header: &ByteRecord) -> Result<Self, ReadError> {
        if header.is_empty() {
            return Err(ReadError::Empty);
        }
        let position = |name: &str| header.iter().position(|field| field.trim_ascii() == name.as_bytes());
        let missing: Vec<_> = NEEDED.into_iter().filter(|name| position(name).is_none()).collect();
        match (
            position("month"),
            position("hour"),
            position("dep_time"),
            position("arr_delay"),
            position("carrier"),
            position("dest"),
        ) {
            (Some(month), Some(hour), Some(dep_time), Some(arr_delay), Some(carrier), Some(dest)) => {
                Ok(Self {
                    width: header.len(),
                    year: position("year"),
                    month,
                    hour,
                    dep_time,
                    arr_delay,
                    carrier,
                    origin: position("origin"),
                    dest,
                })
            }
            _ => Err(ReadError::MissingColumns(missing)),
        }
    }

    fn flight<'row>(&self, row: &'row ByteRecord, carrier: &str) -> Result<Flight<'row>, String> {
        if row.len() != self.width {
            return Err(format!("{} fields instead of {}", row.len(), self.width));
        }
        if &row[self.carrier] != carrier.as_bytes() {
            return Err(format!("a flight of {}", shown(&row[self.carrier])));
        }
        let outcome = match (value(&row[self.dep_time]), value(&row[self.arr_delay])) {
            (None, _) => Outcome::Cancelled,
            (Some(dep_time), _) if integer(dep_time).is_none() => return Err(wrong("dep_time", dep_time)),
            (Some(_), None) => Outcome::NotArrived,
            (Some(_), Some(text)) => match integer(text) {
                Some(delay) if delay.abs() <= LONGEST_DELAY_MINUTES => Outcome::Arrived { delay },
                _ => return Err(wrong("arr_delay", text)),
            },
        };
        let year = match self.year.and_then(|column| value(&row[column])) {
            None => None,
            Some(text) => Some(integer(text).ok_or_else(|| wrong("year", text))?),
        };
        let origin = match self.origin.and_then(|column| value(&row[column])) {
            None => None,
            Some(text) => Some(airport(text).ok_or_else(|| wrong("origin", text))?),
        };
        Ok(Flight {
            year,
            month: within(&row[self.month], 1, 12).ok_or_else(|| wrong("month", &row[self.month]))?,
            hour: within(&row[self.hour], 0, 23).ok_or_else(|| wrong("hour", &row[self.hour]))?,
            origin,
            dest: airport(&row[self.dest]).ok_or_else(|| wrong("dest", &row[self.dest]))?,
            outcome,
        })
    }
}

/// The field, unless it says that there is no value: empty, or `NA` as R writes it.
fn value(field: &[u8]) -> Option<&[u8]> {
    let field = field.trim_ascii();
    (!field.is_empty() && field != b"NA").then_some(field)
}

/// A whole number, also where a table program has made `12.0` of it.
fn integer(field: &[u8]) -> Option<i32> {
    std::str::from_utf8(field.strip_suffix(b".0").unwrap_or(field)).ok()?.parse().ok()
}

fn within(field: &[u8], low: u8, high: u8) -> Option<u8> {
    let number = u8::try_from(integer(value(field)?)?).ok()?;
    (low..=high).contains(&number).then_some(number)
}

/// An airport's code: three or four ASCII letters or digits.
fn airport(field: &[u8]) -> Option<&str> {
    let code = std::str::from_utf8(value(field)?).ok()?;
    ((3..=4).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(code)
}

fn wrong(column: &str, field: &[u8]) -> String {
    format!("{column} is {}", shown(field))
}

/// A field as a message may show it: quoted, and short whatever the file holds.
fn shown(field: &[u8]) -> String {
    let text = String::from_utf8_lossy(field);
    match text.char_indices().nth(24) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const HEADER: &str = "year,month,dep_time,arr_delay,carrier,origin,dest,hour\n";

    fn outcomes(text: &str) -> (Vec<Outcome>, Rows) {
        let mut seen = Vec::new();
        let rows = read_rows(format!("{HEADER}{text}").as_bytes(), "AA", |flight| seen.push(flight.outcome))
            .unwrap();
        (seen, rows)
    }

    #[test]
    fn a_flight_is_arrived_cancelled_or_not_arrived() {
        let (seen, rows) = outcomes(
            "2013,1,542,33,AA,JFK,MIA,5\n2013,1,NA,NA,AA,JFK,MIA,5\n2013,1,,,AA,JFK,MIA,5\n2013,1,600,NA,AA,JFK,MIA,6\n\
             2013,1,600,-9.0,AA,JFK,MIA,6\n",
        );
        let arrived = |delay| Outcome::Arrived { delay };
        assert_eq!(
            seen,
            [arrived(33), Outcome::Cancelled, Outcome::Cancelled, Outcome::NotArrived, arrived(-9)]
        );
        assert_eq!(rows, Rows { read: 5, broken: 0, first_broken: vec![] });
    }

    #[test]
    fn broken_rows_are_counted_described_and_passed_over() {
        let (seen, rows) = outcomes(
            "2013,1,542,33,UA,JFK,MIA,5\n2013,13,542,33,AA,JFK,MIA,5\n2013,1,542,soon,AA,JFK,MIA,5\nrubbish\n\
             2013,1,542,33,AA,JFK,MIA,24\n2013,1,542,33,AA,JFK,<b>,5\n2013,1,542,99999,AA,JFK,MIA,5\n\
             2013,1,542,1,AA,JFK,MIA,5\n",
        );
        assert_eq!(seen, [Outcome::Arrived { delay: 1 }]);
        assert_eq!((rows.read, rows.broken), (8, 7));
        let reasons: Vec<_> = rows.first_broken.iter().map(|row| (row.line, row.reason.as_str())).collect();
        assert_eq!(
            reasons,
            [
                (2, "a flight of \"UA\""),
                (3, "month is \"13\""),
                (4, "arr_delay is \"soon\""),
                (5, "1 fields instead of 8"),
                (6, "hour is \"24\""),
            ]
        );
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let text = "\u{feff}dest,hour,carrier,arr_delay,dep_time,month\nMIA,5,AA,7,542,12\n";
        let mut seen = Vec::new();
        read_rows(text.as_bytes(), "AA", |flight| {
            seen.push((flight.month, flight.hour, flight.dest.to_owned(), flight.year));
        })
        .unwrap();
        assert_eq!(seen, [(12, 5, "MIA".to_owned(), None)]);
    }

    #[test]
    fn a_file_without_the_columns_says_which() {
        let error = read_rows("month,dest,hour,carrier\n".as_bytes(), "AA", |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "the header lacks the columns dep_time, arr_delay");
        assert!(error.is_permanent());
    }

    #[test]
    fn an_empty_or_torn_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("AA.csv.gz");
        File::create(&path).unwrap();
        assert!(matches!(read(&path, "AA", |_| {}), Err(ReadError::Empty)));

        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(HEADER.as_bytes()).unwrap();
        for minute in 0..1000 {
            writeln!(packed, "2013,1,542,{minute},AA,JFK,MIA,5").unwrap();
        }
        let packed = packed.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        assert_eq!(read(&path, "AA", |_| {}).unwrap().read, 1000);
        std::fs::write(&path, &packed[..packed.len() / 2]).unwrap();
        let error = read(&path, "AA", |_| {}).unwrap_err();
        assert!(matches!(error, ReadError::Io(_)) && error.is_permanent(), "{error}");
    }

    #[test]
    fn a_missing_file_is_not_worth_a_second_try() {
        assert!(read(Path::new("/nowhere/AA.csv"), "AA", |_| {}).unwrap_err().is_permanent());
    }
}
