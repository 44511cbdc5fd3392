//! What the doctor asks a PostgreSQL database.

use cloacina_core::store::Place;
use cloacina_postgres::SchemaName;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use uuid::Uuid;

use crate::declared::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, Result};
use crate::gate::Kind;

/// No name in the questions can mean something that is in the place.
pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED, READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL jit = off";

pub(crate) const PLACES: &str = include_str!("../../sql/doctor_places.sql");
/// Those of tenants.
pub(crate) const DATABASES: &str = "SELECT schema_name FROM cloacina.tenant WHERE placement = 'database' AND state IN ('active', 'suspended') ORDER BY schema_name";
const PLACE: &str = include_str!("../../sql/doctor_place.sql");
const LOGIN: &str = include_str!("../../sql/doctor_login.sql");

/// What keeps the tenant of a place apart from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placed {
    Schema,
    Login,
    Shared,
    /// As those who read across tenants see it.
    Reader,
}

impl Placed {
    fn word(self) -> &'static str {
        match self {
            Self::Schema => "schema",
            Self::Login => "login",
            Self::Shared => "shared",
            Self::Reader => "reader",
        }
    }
}

/// What is not clean in the tables of a place.
pub(crate) async fn place(
    connection: &mut PgConnection,
    place: &Place,
    placed: Placed,
    login: &str,
    declared: &Declared,
) -> Result<Vec<Finding>> {
    let schema = SchemaName::of(place).map_err(|error| DataError::of_place(place, &error))?;
    // To readers the tables are those that tenants share.
    let placed = if placed == Placed::Reader { Placed::Shared } else { placed };
    let (tables, columns): (Vec<_>, Vec<_>) = declared.columns.iter().cloned().unzip();
    let query = sqlx::query(AssertSqlSafe(PLACE))
        .bind(schema.as_str().to_owned())
        .bind(placed.word())
        .bind(declared.of_kind(Kind::Tenant))
        .bind(declared.of_kind(Kind::Reference))
        .bind(Uuid::from(place.tenant).to_string())
        .bind(declared.tables().into_iter().collect::<Vec<_>>())
        .bind(tables)
        .bind(columns)
        .bind(declared.functions.clone())
        .bind(declared.types.clone())
        .bind(login.to_owned());
    findings(query, connection, place).await
}

/// What the login that works with a place can do beside that.
pub(crate) async fn login(
    connection: &mut PgConnection,
    place: &Place,
    placed: Placed,
    (login, operator): (&str, Option<&str>),
    declared: &Declared,
) -> Result<Vec<Finding>> {
    let schema = SchemaName::of(place).map_err(|error| DataError::of_place(place, &error))?;
    let query = sqlx::query(AssertSqlSafe(LOGIN))
        .bind(schema.as_str().to_owned())
        .bind(placed.word())
        .bind(login.to_owned())
        .bind(operator.map(str::to_owned))
        .bind(declared.functions.clone());
    findings(query, connection, place).await
}

async fn findings(
    query: sqlx::query::Query<'_, sqlx::Postgres, sqlx::postgres::PgArguments>,
    connection: &mut PgConnection,
    place: &Place,
) -> Result<Vec<Finding>> {
    let failed = |error| DataError::driver(&place.name, "look whether its place is clean", error);
    // To keep what the server made of the question would save a millisecond for each further place, and cost
    // memory in every server process.
    let rows = query.persistent(false).fetch_all(connection).await.map_err(failed)?;
    rows.iter()
        .map(|row| {
            let (what, remedy): (String, String) =
                (row.try_get("what").map_err(failed)?, row.try_get("remedy").map_err(failed)?);
            let mut finding = Finding::warning(&place.name, what, remedy);
            finding.is_fatal = row.try_get("fatal").map_err(failed)?;
            Ok(finding)
        })
        .collect()
}
