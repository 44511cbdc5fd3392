//! What is done for all tenants of a database: as an operator who grants the reading of them, and as an
//! administrator.

use cloacina_core::id::TenantId;
use cloacina_core::store::Place;
use cloacina_postgres::{PostgresAddress, SchemaName};
use sqlx::postgres::Postgres;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Transaction};
use uuid::Uuid;

use super::doctor::{self, Placed};
use super::{MIGRATING, TIMEOUTS, apply, begin, look, options};
use crate::access::Access;
use crate::declared::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, DataErrorKind, Result};
use crate::migration::Whose;

/// Grants a login the reading of several tenants, of all if no names are given, as an operator. Returns the
/// grant, tenant by tenant, once it is committed.
pub(crate) async fn grant(
    operator: &PostgresAddress,
    reader: &str,
    reason: &str,
    names: Option<Vec<String>>,
    seconds: i32,
) -> Result<Vec<(Uuid, Uuid, String)>> {
    let failed = |error| DataError::driver("all", "grant the reading across tenants", error);
    let mut connection = options(operator)?.connect().await.map_err(failed)?;
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
    let mut transaction = connection.begin_with(begin).await.map_err(failed)?;
    transaction.execute(TIMEOUTS).await.map_err(failed)?;
    let granted =
        sqlx::query_as("SELECT reading, tenant_id, name FROM cloacina.grant_reading($1, $2, $3, $4)")
            .bind(reader)
            .bind(names)
            .bind(reason)
            .bind(seconds)
            .persistent(false)
            .fetch_all(&mut *transaction)
            .await
            .map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    drop(connection.close().await);
    Ok(granted)
}

/// Makes or changes the tables that tenants share, as an administrator.
pub(crate) async fn migrate_shared(address: &PostgresAddress, declared: &Declared) -> Result<()> {
    let shared = SchemaName::shared();
    let (name, schema) = (shared.as_str().to_owned(), shared.as_str().to_owned());
    let place = Place { tenant: TenantId(Uuid::nil()), name, schema, epoch: 1, shared: true };
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, &place.name, &look()).await?;
    let of = "SELECT tenant_id FROM cloacina.tenant WHERE placement = 'host'";
    let host = sqlx::query_scalar::<_, Uuid>(of)
        .persistent(false)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(|error| DataError::driver(&place.name, MIGRATING, error))?;
    end(transaction, &place.name).await?;
    let Some(host) = host else {
        return Err(DataError::new(
            DataErrorKind::Place,
            format!(
                "no tenants share tables on {}: make the first with `DatabaseAdmin::create_shared_tenant`",
                address.label()
            ),
        ));
    };
    migrate_as_owner(&mut connection, &place, host, Whose::Shared, declared).await
}

/// Makes or changes the tables of tenants that have logins or databases of their own, or of the one that is
/// called so, one after the other, as an administrator. The first that fails ends it.
pub(crate) async fn migrate_tenants(
    address: &PostgresAddress,
    declared: &Declared,
    only: Option<&str>,
) -> Result<usize> {
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, "all", &look()).await?;
    let of = "SELECT tenant_id, name, schema_name, epoch, group_name, placement = 'database' FROM cloacina.tenant \
              WHERE (placement = 'schema' AND group_name IS NOT NULL OR placement = 'database') AND state IN ('active', 'suspended') \
              AND ($1::text IS NULL OR name = $1) ORDER BY schema_name";
    let tenants: Vec<(Uuid, String, String, i32, Option<String>, bool)> = sqlx::query_as(of)
        .bind(only)
        .persistent(false)
        .fetch_all(&mut *transaction)
        .await
        .map_err(|error| DataError::driver("all", READING_REGISTRY, error))?;
    end(transaction, "all").await?;
    for (tenant, name, schema, epoch, group, elsewhere) in &tenants {
        let (name, schema) = (name.clone(), schema.clone());
        let place = Place { tenant: TenantId(*tenant), name, schema, epoch: *epoch, shared: false };
        // In a database of its own the operator works for it.
        let group = group.as_deref().unwrap_or("cloacina_engine");
        let whose = Whose::Login { tenant: *tenant, group };
        if *elsewhere {
            let there =
                address.with_database(&place.schema).map_err(|error| DataError::of_place(&place, &error))?;
            let mut connection = administrator(&there).await?;
            migrate_as_owner(&mut connection, &place, *tenant, whose, declared).await?;
        } else {
            migrate_as_owner(&mut connection, &place, *tenant, whose, declared).await?;
        }
    }
    Ok(tenants.len())
}

/// A place of the registry: the tenant, its name, schema and epoch, whether it shares tables, whether it has
/// logins of its own, and the logins that work there.
type Registered = (Uuid, String, String, i32, bool, bool, Vec<String>);

/// What the doctor finds in all places of a database.
pub(crate) async fn verify(
    address: &PostgresAddress,
    app: Option<&str>,
    declared: &Declared,
) -> Result<Vec<Finding>> {
    let failed = |error| DataError::driver("all", "look at the places of the database", error);
    let mut connection = options(address)?.connect().await.map_err(failed)?;
    let begin = format!("{}; {TIMEOUTS}", doctor::BEGIN);
    connection.execute(AssertSqlSafe(begin)).await.map_err(failed)?;
    let places: Vec<Registered> = sqlx::query_as(doctor::PLACES)
        .bind(app)
        .persistent(false)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    let mut found = Vec::new();
    for (tenant, name, schema, epoch, shared, own, mut logins) in places {
        let place = Place { tenant: TenantId(tenant), name, schema, epoch, shared };
        let placed = match (shared, own) {
            (true, _) => Placed::Shared,
            (false, true) => Placed::Login,
            (false, false) => Placed::Schema,
        };
        if placed == Placed::Schema {
            logins.push(address.user().to_owned());
        }
        for login in &logins {
            found.extend(doctor::login(&mut connection, &place, placed, (login, None), declared).await?);
        }
        // The logins of a place have the same rights on it.
        let login = logins.first().map_or(address.user(), String::as_str);
        found.extend(doctor::place(&mut connection, &place, placed, login, declared).await?);
    }
    let elsewhere: Vec<String> = sqlx::query_scalar(doctor::DATABASES)
        .persistent(false)
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    connection.execute("ROLLBACK").await.map_err(failed)?;
    drop(connection.close().await);
    for database in elsewhere {
        let there =
            address.with_database(&database).map_err(|error| DataError::configuration(error.to_string()))?;
        found.extend(Box::pin(verify(&there, app, declared)).await?);
    }
    Ok(found)
}

/// Whether a tenant that is called so shares tables.
pub(crate) async fn is_shared(address: &PostgresAddress, name: &str) -> Result<bool> {
    let mut connection = administrator(address).await?;
    let mut transaction = as_owner(&mut connection, name, &look()).await?;
    let of = "SELECT EXISTS (SELECT FROM cloacina.tenant WHERE name = $1 AND placement = 'shared' AND state <> 'removed')";
    let shared = sqlx::query_scalar(of)
        .bind(name)
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await
        .map_err(|error| DataError::driver(name, READING_REGISTRY, error))?;
    end(transaction, name).await?;
    Ok(shared)
}

const READING_REGISTRY: &str = "read the registry of tenants";

async fn administrator(address: &PostgresAddress) -> Result<PgConnection> {
    let failed = |error| DataError::driver("all", "connect as an administrator", error);
    options(address)?.connect().await.map_err(failed)
}

/// A transaction of an administrator's as the owner of all tenants' tables, until it ends.
async fn as_owner<'a>(
    connection: &'a mut PgConnection,
    place: &str,
    begin: &str,
) -> Result<Transaction<'a, Postgres>> {
    connection
        .begin_with(AssertSqlSafe(format!("{begin}; SET LOCAL ROLE cloacina_owner")))
        .await
        .map_err(|error| DataError::driver(place, "begin as an administrator", error))
}

/// Ends a transaction that only read.
async fn end(transaction: Transaction<'_, Postgres>, place: &str) -> Result<()> {
    transaction.rollback().await.map_err(|error| DataError::driver(place, READING_REGISTRY, error))
}

/// One process changes the tables of a place; the others wait for its row in the registry, and find them
/// changed.
async fn migrate_as_owner(
    connection: &mut PgConnection,
    place: &Place,
    registered: Uuid,
    whose: Whose<'_>,
    declared: &Declared,
) -> Result<()> {
    let failed = |error| DataError::driver(&place.name, MIGRATING, error);
    let schema = SchemaName::of(place).map_err(|error| DataError::of_place(place, &error))?;
    let mut transaction = as_owner(connection, &place.name, &begin(&schema, Access::Write)).await?;
    sqlx::query("SELECT FROM cloacina.tenant WHERE tenant_id = $1 FOR NO KEY UPDATE")
        .bind(registered)
        .persistent(false)
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    apply(&mut transaction, place, whose, declared).await?;
    transaction.commit().await.map_err(failed)
}
