//! What a transaction is made of: its steps, where they look, and what it is for.

use std::time::Duration;

use tokio_postgres::types::ToSql;

use crate::schema::SchemaName;
use crate::statement::Statement;
use crate::value::Value;

/// What a connection is wanted for. Whoever stands first is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Use {
    /// The engine's own calls on control tables: heartbeats, bells, runners, hints. They are short.
    Engine,
    /// The flushes of a lane.
    Lane(usize),
    /// Those of tenants who have a login of their own and little to do, each alone.
    Guarded,
    /// What the engine does in places beside flushes, and what users change there.
    Work,
    /// What the engine does about waits, signals, and new executions that go through no lane: its statements
    /// are planned once, as those of a flush.
    Waits,
    /// Flushes of places in trouble.
    Aside,
    /// What users read and what may take long: listings, histories, figures, pruning.
    Read,
}

impl Use {
    /// Its place among those who wait for a connection.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::Engine => 0,
            Self::Lane(_) | Self::Guarded => 1,
            Self::Work | Self::Waits => 2,
            Self::Aside => 3,
            Self::Read => 4,
        }
    }

    pub(crate) fn is_flush(self) -> bool {
        matches!(self, Self::Lane(_) | Self::Guarded | Self::Aside)
    }

    /// Whether its statements are written so that there is only one plan to be made.
    pub(crate) fn has_one_plan(self) -> bool {
        self.is_flush() || self == Self::Waits
    }
}

/// A parameter of a statement.
pub(crate) type Param<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Makes a list of parameters.
macro_rules! params {
    ($($value:expr),* $(,)?) => { vec![$(Box::new($value) as $crate::flight::Param<'_>),*] };
}
pub(crate) use params;

/// In which schema unqualified names are looked up.
#[derive(Clone, Copy)]
pub(crate) enum Scope<'a> {
    /// In none: only `cloacina`'s tables are named, and those by their full names.
    Control,
    /// In a tenant's.
    Schema(&'a SchemaName),
    /// In that of a tenant who has a login of its own, and may hold locks there for as long as it likes.
    Guarded(&'a SchemaName),
}

impl Scope<'_> {
    pub(crate) fn search_path(self) -> String {
        // A temporary table would otherwise be found first.
        match self {
            Self::Control => "SET LOCAL search_path = pg_catalog, pg_temp".to_owned(),
            Self::Schema(schema) | Self::Guarded(schema) => {
                format!("SET LOCAL search_path = {}, pg_temp", schema.quoted())
            }
        }
    }

    /// How long a transaction waits for a lock, and for a statement, in milliseconds.
    ///
    /// In a lane others wait for it. What takes longer there is done aside, where only places in trouble wait
    /// for each other.
    pub(crate) fn patience(self, used_for: Use, lane: Duration) -> (u128, u32) {
        match (self, used_for) {
            // A heartbeat that waits longer is better sent again.
            (Self::Control, Use::Engine) => (2_000, 5_000),
            (Self::Guarded(_), Use::Lane(_) | Use::Guarded) => (lane.as_millis(), 250),
            (_, Use::Lane(_) | Use::Guarded) => {
                (lane.as_millis(), 2_000.max(u32::try_from(lane.as_millis()).unwrap_or(u32::MAX)))
            }
            // Nobody else waits long for a tenant that has a login of its own.
            (Self::Guarded(_), _) => (50, 5_000),
            (_, Use::Aside) => (250, 30_000),
            (Self::Control | Self::Schema(_), _) => (5_000, 30_000),
        }
    }

    pub(crate) fn label(self) -> String {
        match self {
            Self::Control => "cloacina".to_owned(),
            Self::Schema(schema) | Self::Guarded(schema) => schema.as_str().to_owned(),
        }
    }
}

/// One thing in a flight.
pub(crate) enum Step<'a> {
    /// A prepared statement.
    Run(&'static Statement, Vec<Param<'a>>),
    /// From here on another schema counts.
    Enter(Scope<'a>),
    /// Statements as text, without parameters and results.
    Batch(String),
}

impl<'a> Step<'a> {
    /// A prepared statement with these parameters.
    pub(crate) fn of(statement: &'static Statement, values: Vec<Value<'a>>) -> Self {
        Self::Run(statement, values.into_iter().map(|value| Box::new(value) as Param<'a>).collect())
    }
}
