//! The scripts that make and change the tables.

/// A script and its number.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: i32,
    /// Statements, with the schema in the search path.
    pub text: String,
    /// The number that the oldest program knows which can still work once this was applied.
    pub min_reader: i32,
}

impl Migration {
    fn new(number: i32, text: &str, min_reader: i32) -> Self {
        Self { number, text: text.to_owned(), min_reader }
    }

    pub(crate) fn checksum(&self) -> i64 {
        let hash = self.text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        hash.cast_signed()
    }
}

/// The scripts that this program knows.
#[derive(Debug)]
pub(crate) struct Migrations {
    pub(crate) control: Vec<Migration>,
    pub(crate) place: Vec<Migration>,
}

impl Migrations {
    pub(crate) fn with_places(further: &[Migration]) -> Self {
        let mut place = vec![Migration::new(1, include_str!("../migrations/0001_place.sql"), 1)];
        place.extend_from_slice(further);
        Self {
            control: vec![
                Migration::new(1, include_str!("../migrations/control_0001_control.sql"), 1),
                Migration::new(2, include_str!("../migrations/control_0002_tenants.sql"), 1),
                Migration::new(3, include_str!("../migrations/control_0003_shared.sql"), 1),
                Migration::new(4, include_str!("../migrations/control_0004_database.sql"), 1),
                Migration::new(5, include_str!("../migrations/control_0005_reading.sql"), 1),
            ],
            place,
        }
    }

    pub(crate) fn place_version(&self) -> i32 {
        self.place.last().map_or(0, |last| last.number)
    }

    /// Those of the schema `cloacina`, or of a place.
    pub(crate) fn known(&self, scope: &str) -> &[Migration] {
        if scope == "control" { &self.control } else { &self.place }
    }
}
