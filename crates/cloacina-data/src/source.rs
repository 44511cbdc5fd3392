//! Where tenants' data is: the connections of one declaration to one database.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cloacina_core::Resources;
use cloacina_core::id::TenantId;
use cloacina_core::store::Place;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::connection::Connection;
use crate::declared::Declared;
use crate::doctor::{self, Finding};
use crate::error::Result;
use crate::gate::Dialect;
use crate::metrics::{Counters, DataMetrics};

/// A declaration in one database.
pub struct Source {
    pub(crate) declared: Arc<Declared>,
    backend: Backend,
    /// The tenants whose data was used.
    known: Mutex<HashMap<TenantId, Arc<Known>>>,
    /// The logins about which the doctor found nothing.
    clean_logins: Mutex<HashSet<String>>,
    /// Whether it found nothing about the tables that tenants share.
    shared_is_clean: OnceCell<()>,
}

/// What is kept of a tenant whose data was used.
pub(crate) struct Known {
    name: String,
    /// Set once its tables are as the declaration wants them.
    ready: OnceCell<()>,
    pub(crate) counters: Counters,
}

/// Which database.
#[derive(PartialEq, Eq, Hash)]
pub(crate) enum Key {
    #[cfg(feature = "postgres")]
    Postgres(Box<cloacina_postgres::PostgresAddress>),
    #[cfg(feature = "sqlite")]
    Sqlite(cloacina_sqlite::SqliteAddress),
}

pub(crate) enum Backend {
    #[cfg(feature = "postgres")]
    Postgres(Arc<crate::postgres::Server>),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::File),
}

impl Source {
    pub(crate) fn new(declared: Arc<Declared>, backend: Backend) -> Self {
        Self {
            declared,
            backend,
            known: Mutex::default(),
            clean_logins: Mutex::default(),
            shared_is_clean: OnceCell::new(),
        }
    }

    fn reaches_logins(&self) -> bool {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.reaches_logins(),
            // A file has none.
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => true,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => Dialect::Sqlite,
        }
    }

    pub(crate) fn known(&self, place: &Place) -> Arc<Known> {
        let mut known = self.known.lock();
        let new = || {
            let name = place.name.clone();
            Arc::new(Known { name, ready: OnceCell::new(), counters: Counters::default() })
        };
        Arc::clone(known.entry(place.tenant).or_insert_with(new))
    }

    /// What was done on the data of each tenant.
    pub(crate) fn metrics(&self) -> Vec<(String, DataMetrics)> {
        let known = self.known.lock();
        known.values().map(|known| (known.name.clone(), known.counters.read())).collect()
    }

    /// Sees that a place is as it is declared: once, for those who come at the same time as well.
    pub(crate) async fn prepare(&self, place: &Arc<Place>, known: &Known) -> Result<()> {
        known.ready.get_or_try_init(|| self.open(place)).await?;
        Ok(())
    }

    async fn open(&self, place: &Arc<Place>) -> Result<()> {
        self.migrate(place).await?;
        let login = self.login_of(place).await?;
        let is_clean = self.clean_logins.lock().contains(&login);
        if !is_clean {
            doctor::admit(&place.name, self.verify_login(place).await?)?;
            self.clean_logins.lock().insert(login);
        }
        let examine = async || doctor::admit(&place.name, self.verify_place(place).await?);
        if place.shared {
            let examine_shared = async || -> Result<()> {
                examine().await?;
                self.warn_of_counters();
                Ok(())
            };
            self.shared_is_clean.get_or_try_init(examine_shared).await?;
        } else {
            examine().await?;
        }
        Ok(())
    }

    /// A number that counts the rows of all tenants tells each how much the others write.
    fn warn_of_counters(&self) {
        for (table, column) in self.declared.counters() {
            tracing::warn!(
                table,
                column,
                "a column counts up for all tenants that share the table, so each can tell how much the others write: \
                 use a UUID as the key"
            );
        }
    }

    /// What the doctor finds, whatever was found before.
    pub(crate) async fn verify(&self, place: &Arc<Place>) -> Result<Vec<Finding>> {
        let mut findings = self.verify_login(place).await?;
        findings.extend(self.verify_place(place).await?);
        Ok(findings)
    }

    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "who may open a file may do what it likes")
    )]
    async fn verify_login(&self, place: &Arc<Place>) -> Result<Vec<Finding>> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.verify_login(place, &self.declared).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => Ok(Vec::new()),
        }
    }

    /// The login that a place is reached with; of a file there is none.
    async fn login_of(&self, place: &Arc<Place>) -> Result<String> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.login_of(place).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(_) => Ok(place.name.clone()),
        }
    }

    async fn verify_place(&self, place: &Arc<Place>) -> Result<Vec<Finding>> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.verify_place(place, &self.declared).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(file) => file.verify(place, &self.declared).await,
        }
    }

    async fn migrate(&self, place: &Arc<Place>) -> Result<()> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => server.migrate(place, &self.declared).await,
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(file) => file.migrate(place, &self.declared).await,
        }
    }

    pub(crate) async fn begin(&self, place: &Arc<Place>, access: Access) -> Result<Connection> {
        match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(server) => Ok(Connection::Postgres(server.begin(place, access).await?)),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(file) => Ok(Connection::Sqlite(file.begin(place, access).await?)),
        }
    }
}

/// What runners are given: the data of whatever tenant a task runs for.
#[derive(Clone)]
pub struct TaskData(pub Arc<Source>);

/// Where the data of the tenant is that a task runs for.
pub(crate) struct DataOf {
    pub(crate) source: Arc<Source>,
    pub(crate) place: Arc<Place>,
}

impl Resources for TaskData {
    fn of(&self, place: &Arc<Place>) -> Arc<dyn Any + Send + Sync> {
        Arc::new(DataOf { source: Arc::clone(&self.0), place: Arc::clone(place) })
    }

    fn reaches_logins(&self) -> bool {
        self.0.reaches_logins()
    }
}

impl fmt::Debug for TaskData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskData")
    }
}
