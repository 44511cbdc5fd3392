//! One hub for each database that this process uses.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

#[cfg(feature = "postgres")]
use cloacina_core::ErrorKind;
#[cfg(feature = "postgres")]
use cloacina_core::id::TenantId;
use cloacina_core::store::{PlaceName, Store};
#[cfg(feature = "postgres")]
use cloacina_core::store::{Placement, TenantState};
use cloacina_core::{Error, Hub, RunnerConfig};
#[cfg(feature = "data")]
use cloacina_data::{Data, Source};
#[cfg(feature = "postgres")]
use cloacina_postgres::{PostgresAddress, PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
use cloacina_sqlite::{SqliteAddress, SqliteStore};
use parking_lot::Mutex;

use super::environment::configuration;
#[cfg(feature = "postgres")]
use super::environment::default_place;

/// Which database a hub is on: the parsed address, so that two spellings of one URL share a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresAddress>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteAddress),
}

/// A hub, or the place for one that is being made: locked while it is, so that only one is.
type Slot = Arc<tokio::sync::Mutex<Option<Open>>>;

#[derive(Clone)]
struct Open {
    hub: Arc<Hub>,
    #[cfg(feature = "postgres")]
    postgres: Option<(Arc<PostgresStore>, PostgresAddress)>,
}

/// A hub, the place that is meant there, and the database that it is on.
pub(super) struct Opened {
    pub(super) hub: Arc<Hub>,
    pub(super) place: PlaceName,
    /// Whose place it has to be, where a registry elsewhere says so.
    #[cfg(feature = "postgres")]
    pub(super) tenant: Option<TenantId>,
    pub(super) database: Database,
}

/// Where a hub's database is.
pub(super) enum Database {
    #[cfg(feature = "postgres")]
    Postgres {
        #[cfg_attr(not(feature = "data"), expect(dead_code))]
        address: Box<PostgresAddress>,
        /// Whether the login is a tenant's own.
        #[cfg_attr(not(feature = "data"), expect(dead_code))]
        own: bool,
    },
    #[cfg(feature = "sqlite")]
    Sqlite(#[cfg_attr(not(feature = "data"), expect(dead_code))] SqliteAddress),
}

#[cfg(feature = "data")]
impl Database {
    /// The tenants' own data there.
    pub(super) fn source(
        &self,
        data: &Data,
        #[cfg_attr(not(feature = "postgres"), expect(unused_variables))] config: &RunnerConfig,
    ) -> Result<Arc<Source>, Error> {
        let source = match self {
            #[cfg(feature = "postgres")]
            Self::Postgres { address, own } => Source::postgres(data, address, config.max_connections, *own),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(address) => Source::sqlite(data, address),
        };
        source.map_err(|error| configuration(&error.to_string()))
    }
}

static HUBS: LazyLock<Mutex<HashMap<Key, Slot>>> = LazyLock::new(Mutex::default);

/// A database, as its URL names it.
pub(crate) enum Address {
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresAddress>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteAddress),
}

/// Which database a URL names.
pub(super) fn address_of(url: &str) -> Result<Address, Error> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    Ok(match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => Address::Sqlite(SqliteAddress::parse(url)?),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => Address::Postgres(Box::new(PostgresAddress::parse(url)?)),
        _ => return Err(unknown_scheme(scheme)),
    })
}

/// The hub of a database, and the place that is meant there.
pub(super) async fn of(url: &str, schema: Option<&str>, config: &RunnerConfig) -> Result<Opened, Error> {
    match address_of(url)? {
        #[cfg(feature = "sqlite")]
        Address::Sqlite(address) => {
            if let Some(schema) = schema {
                return Err(configuration(&format!(
                    "SQLite has no schemas: give tenant `{}` a file of its own, `sqlite://…/{0}.db`",
                    schema.escape_debug()
                )));
            }
            of_file(address, config).await
        }
        #[cfg(feature = "postgres")]
        Address::Postgres(address) => {
            let (hub, store, address) = of_database(*address, config).await?;
            let own = store.is_tenant_login();
            let place = match schema {
                Some(schema) => PlaceName::Named(schema.to_owned()),
                // A tenant's login has a place of its own, whatever the environment says.
                None if own => PlaceName::Default,
                None => default_place()?,
            };
            let database = Database::Postgres { address: Box::new(address), own };
            Ok(Opened { hub, place, tenant: None, database })
        }
    }
}

/// The hub of a SQLite file.
#[cfg(feature = "sqlite")]
pub(super) async fn of_file(address: SqliteAddress, config: &RunnerConfig) -> Result<Opened, Error> {
    let hub = open(Key::Sqlite(address.clone()), async |known: Option<&Open>| {
        if let Some(known) = known {
            return Ok(known.clone());
        }
        let store: Arc<dyn Store> = SqliteStore::open_address(address.clone()).await?;
        Ok(Open {
            hub: Hub::start(store, config),
            #[cfg(feature = "postgres")]
            postgres: None,
        })
    });
    let hub = hub.await?.hub;
    Ok(Opened {
        hub,
        place: PlaceName::Default,
        #[cfg(feature = "postgres")]
        tenant: None,
        database: Database::Sqlite(address),
    })
}

/// The hub of the database in which the tenant is that the operator calls so, and its place there.
#[cfg(feature = "postgres")]
pub(super) async fn of_tenant(url: &str, tenant: &str, config: &RunnerConfig) -> Result<Opened, Error> {
    let (hub, store, address) = Box::pin(of_database(PostgresAddress::parse(url)?, config)).await?;
    let own = store.is_tenant_login();
    let found = if own { None } else { store.tenants_named(Some(tenant)).await?.pop() };
    let Some(found) = found.filter(|found| found.name == tenant && found.placement == Placement::Database)
    else {
        let database = Database::Postgres { address: Box::new(address), own };
        return Ok(Opened { hub, place: PlaceName::Tenant(tenant.to_owned()), tenant: None, database });
    };
    if found.state == TenantState::Creating {
        let message = format!(
            "the tenant `{tenant}` is being made; if that was cut short, `DatabaseAdmin::create_tenant_database` goes on with it"
        );
        return Err(Error::new(ErrorKind::Place, message));
    }
    let (hub, _, address) = Box::pin(of_database(address.with_database(&found.schema_name)?, config)).await?;
    let database = Database::Postgres { address: Box::new(address), own };
    Ok(Opened { hub, place: PlaceName::Named(found.schema_name), tenant: Some(found.tenant), database })
}

/// What is open on a PostgreSQL database.
#[cfg(feature = "postgres")]
async fn of_database(
    address: PostgresAddress,
    config: &RunnerConfig,
) -> Result<(Arc<Hub>, Arc<PostgresStore>, PostgresAddress), Error> {
    let open = open(Key::Postgres(Box::new(address.clone())), async |known: Option<&Open>| {
        if let Some(open @ Open { postgres: Some((store, first)), .. }) = known {
            if !first.same_password(&address) {
                PostgresStore::authenticate(address.clone()).await?;
            }
            store.ensure_connections(config.max_connections);
            return Ok(open.clone());
        }
        let options =
            PostgresOptions { max_connections: config.max_connections, ..PostgresOptions::default() };
        let store = PostgresStore::connect_address(address.clone(), options).await?;
        let hub = Hub::start(Arc::clone(&store) as Arc<dyn Store>, config);
        Ok(Open { hub, postgres: Some((store, address.clone())) })
    })
    .await?;
    let (store, address) =
        open.postgres.ok_or_else(|| configuration("the database is no PostgreSQL database"))?;
    Ok((open.hub, store, address))
}

/// The store of a PostgreSQL database, as the runners of this process share it.
#[cfg(feature = "postgres")]
pub(crate) async fn postgres_store(url: &str, config: &RunnerConfig) -> Result<Arc<PostgresStore>, Error> {
    let (_, store, _) = Box::pin(of_database(PostgresAddress::parse(url)?, config)).await?;
    Ok(store)
}

/// The hub under a key; `make` is given the one that is there and says which it is from now on.
async fn open(key: Key, make: impl AsyncFnOnce(Option<&Open>) -> Result<Open, Error>) -> Result<Open, Error> {
    let slot = {
        let mut hubs = HUBS.lock();
        // Hubs that have closed since are forgotten here. A slot that is locked or shared is being used.
        hubs.retain(|_, slot| {
            Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|slot| slot.as_ref().is_some_and(|open| !open.hub.is_closed()))
        });
        Arc::clone(hubs.entry(key).or_default())
    };
    let mut slot = slot.lock().await;
    let known = slot.take().filter(|open| !open.hub.is_closed());
    match make(known.as_ref()).await {
        Ok(open) => {
            *slot = Some(open.clone());
            Ok(open)
        }
        Err(error) => {
            *slot = known;
            Err(error)
        }
    }
}

fn unknown_scheme(scheme: &str) -> Error {
    let mut known: Vec<&str> = Vec::new();
    if cfg!(feature = "sqlite") {
        known.push("`sqlite://path/to/file.db`");
    }
    if cfg!(feature = "postgres") {
        known.push("`postgresql://user:password@host/database`");
    }
    if cfg!(not(feature = "postgres")) && matches!(scheme, "postgres" | "postgresql") {
        return configuration(
            "this program was built without PostgreSQL: turn on the feature `postgres` of the crate `cloacina`",
        );
    }
    let plausible = scheme.len() <= 20 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    // Whatever stands before the first colon of something that is no URL may be part of a secret.
    let begins = if plausible && !scheme.is_empty() {
        format!("begins with `{scheme}:`, by which no database is known")
    } else {
        "names no kind of database".to_owned()
    };
    configuration(&format!("the database URL {begins}; use {}", known.join(" or ")))
}
