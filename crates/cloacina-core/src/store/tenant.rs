//! What an operator decides about a tenant.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Whether a tenant may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TenantState {
    /// It may.
    #[default]
    Active,
    /// It is being made: what it works in is not all there yet.
    Creating,
    /// The operator stopped it: nothing is submitted or claimed until it is resumed; nothing is lost.
    Suspended,
    /// It is being moved to another place; callers look again and retry.
    Moving,
    /// It is being removed: nothing is submitted or claimed any more.
    Removing,
    /// It is gone.
    Removed,
}

impl TenantState {
    /// As it is stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Creating => "creating",
            Self::Suspended => "suspended",
            Self::Moving => "moving",
            Self::Removing => "removing",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for TenantState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TenantState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Active, Self::Creating, Self::Suspended, Self::Moving, Self::Removing, Self::Removed]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no state of a tenant that this program knows"))
    }
}

/// Where a tenant's rows are. The guide on placement says what each costs and what keeps it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Placement {
    /// A SQLite file of its own.
    File,
    /// A PostgreSQL schema of its own, in which the operator's login works.
    Schema,
    /// A PostgreSQL schema and a login of its own.
    OwnRole,
    /// Tables that it shares with others, kept apart by row security. Some rows are all that it costs.
    Shared,
    /// A PostgreSQL database of its own, on the server of the operator's. Each keeps some connections open;
    /// it is for few and large ones.
    Database,
}

impl Placement {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::File, Self::Schema, Self::OwnRole, Self::Shared, Self::Database];

    /// Its name for programs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Schema => "schema",
            Self::OwnRole => "own_role",
            Self::Shared => "shared",
            Self::Database => "database",
        }
    }

    /// The placement of this [name](Self::as_str).
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|placement| placement.as_str() == name)
    }

    /// Whether the tenant has a schema of its own in the operator's database.
    #[must_use]
    pub fn is_schema(self) -> bool {
        matches!(self, Self::Schema | Self::OwnRole)
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "a file",
            Self::Schema => "a schema",
            Self::OwnRole => "a schema and a login",
            Self::Shared => "a share of tables",
            Self::Database => "a database",
        })
    }
}

/// What a tenant may use at most; `None` is no limit of its own, so that the runner's configuration counts.
///
/// Where both say something, the smaller one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TenantLimits {
    /// How many of its tasks run at once in one process.
    pub max_concurrent_tasks: Option<u32>,
    /// How many of its executions may be under way, that is recorded and not over, before another one is
    /// refused.
    pub max_queue_length: Option<u32>,
    /// How many of its executions may wait before another one of a workflow with waits is refused.
    pub max_waiting: Option<u32>,
    /// The largest input of an execution, in bytes of JSON.
    pub max_context_bytes: Option<u32>,
    /// How many connections the tenant's own login may have open.
    pub max_connections: Option<u32>,
    /// How long one statement of the tenant's own login may take.
    pub statement_timeout: Option<Duration>,
    /// How long a transaction of the tenant's own login may be open.
    pub transaction_timeout: Option<Duration>,
}

/// What an operator decided about a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TenantStatus {
    /// Whether it may work.
    pub state: TenantState,
    /// What it may use.
    pub limits: TenantLimits,
    /// Whether the tenant has a database login of its own. Then its rows are untrusted input, and its locks
    /// may be held for long: it shares no commit with another tenant.
    pub has_login: bool,
}
