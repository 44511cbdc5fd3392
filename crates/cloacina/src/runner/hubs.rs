//! One hub for each database that this process uses.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cloacina_core::store::{PlaceName, Store};
use cloacina_core::{DefaultRunnerConfig, Hub, PipelineError};
#[cfg(feature = "data")]
use cloacina_data::{Data, Source};
#[cfg(feature = "postgres")]
use cloacina_postgres::{PostgresAddress, PostgresOptions, PostgresStore};
#[cfg(feature = "sqlite")]
use cloacina_sqlite::{SqliteAddress, SqliteStore};
use tokio::sync::Mutex as AsyncMutex;

use super::configuration;
#[cfg(feature = "postgres")]
use super::default_place;

/// Which database a hub is on: the parsed address, so that two spellings of one URL share a hub.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresAddress>),
    #[cfg(feature = "sqlite")]
    Sqlite(SqliteAddress),
}

/// A hub, or the place for one that is being made: locked while it is, so that only one is.
type Slot = Arc<AsyncMutex<Option<Open>>>;

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
        config: &DefaultRunnerConfig,
    ) -> Result<Arc<Source>, PipelineError> {
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

/// The hub of a database, and the place that is meant there.
pub(super) async fn of(
    url: &str,
    schema: Option<&str>,
    config: &DefaultRunnerConfig,
) -> Result<Opened, PipelineError> {
    let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
    match scheme {
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            if let Some(schema) = schema {
                return Err(configuration(&format!(
                    "SQLite has no schemas: give tenant `{}` a file of its own, `sqlite://…/{0}.db`",
                    schema.escape_debug()
                )));
            }
            of_file(SqliteAddress::parse(url)?, config).await
        }
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let Open { hub, postgres } = of_database(url, config).await?;
            let (store, address) =
                postgres.ok_or_else(|| configuration("the database is no PostgreSQL database"))?;
            let own = store.is_tenant_login();
            let place = match schema {
                Some(schema) => PlaceName::Named(schema.to_owned()),
                // A tenant's login has a place of its own, whatever the environment says.
                None if own => PlaceName::Default,
                None => default_place()?,
            };
            Ok(Opened { hub, place, database: Database::Postgres { address: Box::new(address), own } })
        }
        _ => Err(unknown_scheme(scheme)),
    }
}

/// The hub of a SQLite file.
#[cfg(feature = "sqlite")]
pub(super) async fn of_file(
    address: SqliteAddress,
    config: &DefaultRunnerConfig,
) -> Result<Opened, PipelineError> {
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
    Ok(Opened { hub, place: PlaceName::Default, database: Database::Sqlite(address) })
}

/// What is open on a PostgreSQL database.
#[cfg(feature = "postgres")]
async fn of_database(url: &str, config: &DefaultRunnerConfig) -> Result<Open, PipelineError> {
    let address = PostgresAddress::parse(url)?;
    open(Key::Postgres(Box::new(address.clone())), async |known: Option<&Open>| {
        if let Some(open @ Open { postgres: Some((store, first)), .. }) = known {
            if !first.same_password(&address) {
                PostgresStore::authenticate(url).await?;
            }
            store.ensure_connections(config.max_connections);
            return Ok(open.clone());
        }
        let options =
            PostgresOptions { max_connections: config.max_connections, ..PostgresOptions::default() };
        let store = PostgresStore::connect(url, options).await?;
        let hub = Hub::start(Arc::clone(&store) as Arc<dyn Store>, config);
        Ok(Open { hub, postgres: Some((store, address.clone())) })
    })
    .await
}

/// The store of a PostgreSQL database, as the runners of this process share it.
#[cfg(feature = "postgres")]
pub(crate) async fn postgres_store(
    url: &str,
    config: &DefaultRunnerConfig,
) -> Result<Arc<PostgresStore>, PipelineError> {
    let opened = Box::pin(of_database(url, config)).await?;
    opened
        .postgres
        .map(|(store, _)| store)
        .ok_or_else(|| configuration("the database is no PostgreSQL database"))
}

/// The hub under a key; `make` is given the one that is there and says which it is from now on.
async fn open(
    key: Key,
    make: impl AsyncFnOnce(Option<&Open>) -> Result<Open, PipelineError>,
) -> Result<Open, PipelineError> {
    let slot = {
        let mut hubs = HUBS.lock().unwrap_or_else(PoisonError::into_inner);
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

fn unknown_scheme(scheme: &str) -> PipelineError {
    let mut known: Vec<&str> = Vec::new();
    if cfg!(feature = "sqlite") {
        known.push("`sqlite://path/to/file.db`");
    }
    if cfg!(feature = "postgres") {
        known.push("`postgresql://user:password@host/database`");
    }
    let plausible = scheme.len() <= 20 && scheme.chars().all(|c| c.is_ascii_alphanumeric() || c == '+');
    // Whatever stands before the first colon of something that is no URL may be part of a secret.
    let scheme = if plausible && !scheme.is_empty() { format!("`{scheme}:`") } else { "that".to_owned() };
    configuration(&format!(
        "no database is known by a URL that begins with {scheme}; use {}",
        known.join(" or ")
    ))
}
