//! Which tables hold tenants' data, and how they came to be.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use sea_orm::{EntityTrait, IdenStatic, Iterable};

#[cfg(feature = "postgres")]
use crate::credentials::{AnySource, CredentialSource, GivenLogin};
use crate::declared::Declared;
use crate::doctor::Finding;
use crate::error::{DataError, Result};
use crate::gate::{Dialect, Gate, Kind, Tables};
use crate::metrics::DataMetrics;
use crate::migration::Migration;
use crate::name::{TENANT_ID, check_name, check_table};
use crate::source::{Backend, Key, Source};

/// The declared tables of an application, with their migrations: what every tenant's place holds beside the
/// engine's tables.
///
/// Made once, and given to each runner. A clone is the same declaration.
#[derive(Clone)]
pub struct Data {
    pub(crate) declared: Arc<Declared>,
    #[cfg(feature = "postgres")]
    pub(crate) app: Option<GivenLogin>,
    #[cfg(feature = "postgres")]
    pub(crate) reader: Option<GivenLogin>,
    #[cfg(feature = "postgres")]
    pub(crate) credentials: Option<Arc<dyn AnySource>>,
    /// Where it is in use.
    pub(crate) sources: Arc<Mutex<HashMap<Key, Weak<Source>>>>,
}

/// Declares tables one by one.
#[must_use = "nothing is declared before `build`"]
#[derive(Default)]
pub struct DataBuilder {
    tables: Vec<(String, Kind, Vec<String>, Option<String>)>,
    migrations: Vec<Migration>,
    functions: Vec<String>,
    types: Vec<String>,
}

impl Data {
    /// Starts a declaration.
    pub fn builder() -> DataBuilder {
        DataBuilder::default()
    }

    /// The same for a database in which tenants share tables: they are reached as this login, which
    /// [`create_app_login`](cloacina_postgres::admin::DatabaseAdmin::create_app_login) makes.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn app_login(&self, username: &str, password: &str) -> Self {
        let app = GivenLogin { username: username.to_owned(), password: password.into() };
        Self { app: Some(app), sources: Arc::default(), ..self.clone() }
    }

    /// The same for reading [`across`](Self::across) tenants, as this login, which
    /// [`create_reader_login`](cloacina_postgres::admin::DatabaseAdmin::create_reader_login) makes.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn reader_login(&self, username: &str, password: &str) -> Self {
        let reader = GivenLogin { username: username.to_owned(), password: password.into() };
        Self { reader: Some(reader), ..self.clone() }
    }

    /// Looks at every place of a database as it is now, without opening one: a SQLite file, or a PostgreSQL
    /// database as an operator or an administrator sees it. For a check before a program is deployed; see
    /// [`TenantDb::verify`](crate::TenantDb::verify).
    ///
    /// # Errors
    ///
    /// A [`DataError`] if the database cannot be looked at. What is found is none.
    pub async fn verify(&self, url: &str) -> Result<Vec<Finding>> {
        #[cfg(feature = "sqlite")]
        if url.starts_with("sqlite:") {
            let address = cloacina_sqlite::SqliteAddress::parse(url)
                .map_err(|error| DataError::configuration(error.to_string()))?;
            return crate::sqlite::File::new(&address)?.verify_whole(&self.declared).await;
        }
        #[cfg(feature = "postgres")]
        if url.starts_with("postgres") {
            let address = cloacina_postgres::PostgresAddress::parse(url)
                .map_err(|error| DataError::configuration(error.to_string()))?;
            let app = self.app.as_ref().map(|app| app.username.as_str());
            return crate::postgres::verify(&address, app, &self.declared).await;
        }
        Err(DataError::configuration("no database is known by this URL: use `sqlite://` or `postgres://`"))
    }

    /// The same for a database in which tenants have logins of their own: the operator's runners work on
    /// their data as these logins, whose passwords they ask this source for.
    ///
    /// Without it, an operator's runner leaves workflows whose tasks ask for data to the tenants' own
    /// runners.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn credentials(&self, source: impl CredentialSource) -> Self {
        Self { credentials: Some(Arc::new(source)), sources: Arc::default(), ..self.clone() }
    }

    /// What this process did on the data of each tenant that it used, in the order of their names: for
    /// whoever collects such figures. The counts of a tenant begin anew when all runners on its database were
    /// closed in between.
    ///
    /// Tenants of several databases are all there, under the names that messages give them. Reading
    /// [`across`](Self::across) tenants is not counted: it has its audit.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, DataMetrics)> {
        let sources: Vec<_> = {
            let sources = self.sources.lock();
            sources.values().filter_map(Weak::upgrade).collect()
        };
        let mut metrics: Vec<_> = sources.iter().flat_map(|source| source.metrics()).collect();
        metrics.sort_by(|one, other| one.0.cmp(&other.0));
        metrics
    }

    /// Makes or changes the tables of all tenants that have logins or databases of their own, with what may
    /// be done with them, as an administrator of the database. One after the other, each in a transaction;
    /// returns how many tenants there are. Safe to repeat, and to be called for new tenants.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::DataErrorKind::Configuration) for a URL that cannot be used,
    /// [`Place`](crate::DataErrorKind::Place) for a tenant whose tables a newer program changed, and what the
    /// database says. Those before it in the order of their schemas are done.
    #[cfg(feature = "postgres")]
    pub async fn migrate_tenants(&self, admin_url: &str) -> Result<usize> {
        let address = cloacina_postgres::PostgresAddress::parse(admin_url)
            .map_err(|error| DataError::configuration(error.to_string()))?;
        crate::postgres::migrate_tenants(&address, &self.declared, None).await
    }

    /// As [`migrate_tenants`](Self::migrate_tenants), for the tenant that the operator calls so; of one that
    /// shares tables it makes or changes those. Nothing for a tenant whose schema the operator's login uses:
    /// its tables are made when it is first used.
    ///
    /// # Errors
    ///
    /// As [`migrate_tenants`](Self::migrate_tenants).
    #[cfg(feature = "postgres")]
    pub async fn migrate_tenant(&self, admin_url: &str, name: &str) -> Result<()> {
        let address = cloacina_postgres::PostgresAddress::parse(admin_url)
            .map_err(|error| DataError::configuration(error.to_string()))?;
        if crate::postgres::is_shared(&address, name).await? {
            return crate::postgres::migrate_shared(&address, &self.declared).await;
        }
        crate::postgres::migrate_tenants(&address, &self.declared, Some(name)).await.map(drop)
    }

    /// Makes or changes the tables that tenants share, with their keys, policies and grants, as an
    /// administrator of the database. Safe to repeat.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::DataErrorKind::Configuration) for a URL that cannot be used,
    /// [`Place`](crate::DataErrorKind::Place) if no tenants share tables there or a newer program changed
    /// them, and what the database says.
    #[cfg(feature = "postgres")]
    pub async fn migrate_shared(&self, admin_url: &str) -> Result<()> {
        let address = cloacina_postgres::PostgresAddress::parse(admin_url)
            .map_err(|error| DataError::configuration(error.to_string()))?;
        crate::postgres::migrate_shared(&address, &self.declared).await
    }
}

impl Source {
    /// In a PostgreSQL database. `own` says that the login is a tenant's own.
    #[cfg(feature = "postgres")]
    pub fn postgres(
        data: &Data,
        address: &cloacina_postgres::PostgresAddress,
        max_connections: u32,
        own: bool,
    ) -> Result<Arc<Self>> {
        Self::shared(data, Key::Postgres(Box::new(address.clone())), || {
            let server = crate::postgres::Server::new(
                address,
                data.app.as_ref(),
                data.credentials.clone(),
                max_connections,
                own,
            )?;
            Ok(Backend::Postgres(Arc::new(server)))
        })
    }

    /// In a SQLite file.
    #[cfg(feature = "sqlite")]
    pub fn sqlite(data: &Data, address: &cloacina_sqlite::SqliteAddress) -> Result<Arc<Self>> {
        Self::shared(data, Key::Sqlite(address.clone()), || {
            Ok(Backend::Sqlite(crate::sqlite::File::new(address)?))
        })
    }

    /// The one of all runners on a database, however many there are.
    fn shared(data: &Data, key: Key, make: impl FnOnce() -> Result<Backend>) -> Result<Arc<Self>> {
        let mut sources = data.sources.lock();
        if let Some(source) = sources.get(&key).and_then(Weak::upgrade) {
            return Ok(source);
        }
        let source = Arc::new(Self::new(Arc::clone(&data.declared), make()?));
        sources.retain(|_, source| source.strong_count() > 0);
        sources.insert(key, Arc::downgrade(&source));
        Ok(source)
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Data").field("tables", &self.declared.kinds.keys()).finish_non_exhaustive()
    }
}

impl DataBuilder {
    /// A table whose rows belong to tenants. Its model has no `tenant_id`: the database fills it in, and no
    /// statement may name it.
    pub fn tenant<E: EntityTrait>(self, entity: E) -> Self {
        self.table(entity, Kind::Tenant)
    }

    /// A table whose rows every tenant may read and none may write, such as countries. Migrations fill it.
    pub fn reference<E: EntityTrait>(self, entity: E) -> Self {
        self.table(entity, Kind::Reference)
    }

    fn table<E: EntityTrait>(mut self, entity: E, kind: Kind) -> Self {
        let columns = E::Column::iter().map(|column| column.as_str().to_owned()).collect();
        let schema = entity.schema_name().map(str::to_owned);
        self.tables.push((entity.table_name().to_owned(), kind, columns, schema));
        self
    }

    /// The next migration. They are applied in this order in each tenant's place, all that it does not have
    /// in one transaction.
    pub fn migration(mut self, migration: Migration) -> Self {
        self.migrations.push(migration);
        self
    }

    /// A function that statements may call beside the usual ones: of an extension, say. It must touch nothing
    /// but its arguments.
    pub fn function(mut self, name: &str) -> Self {
        self.functions.push(name.to_ascii_lowercase());
        self
    }

    /// A type that values may be cast to beside the usual ones: an enum of the database.
    pub fn value_type(mut self, name: &str) -> Self {
        self.types.push(name.to_owned());
        self
    }

    /// The declaration.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::DataErrorKind::Configuration): a table that is declared twice, has a schema,
    /// a name that cannot be used, or a model with a `tenant_id`; a migration of a table that is not
    /// declared, or a declared table that no migration creates; migrations that are not numbered 1, 2, 3, ….
    pub fn build(self) -> Result<Data> {
        let mut kinds = BTreeMap::new();
        let mut model = Vec::new();
        for (name, kind, columns, schema) in self.tables {
            check_table(&name, schema.as_deref())?;
            for column in &columns {
                check_name("column", column)?;
                if column.eq_ignore_ascii_case(TENANT_ID) {
                    return Err(DataError::configuration(format!(
                        "the model of table `{name}` has a field for `{column}`: leave it out; every tenant table has that column, and the \
                         database fills it in"
                    )));
                }
            }
            let known = kinds.keys().any(|known: &String| known.eq_ignore_ascii_case(&name));
            if known {
                return Err(DataError::configuration(format!(
                    "table `{name}` is declared twice: leave one of the two out"
                )));
            }
            model.extend(columns.into_iter().map(|column| (name.clone(), column)));
            kinds.insert(name, kind);
        }
        for (number, migration) in (1..).zip(&self.migrations) {
            migration.check(number, &kinds)?;
        }
        for name in kinds.keys() {
            if !self.migrations.iter().any(|migration| migration.creates(name)) {
                return Err(DataError::configuration(format!(
                    "table `{name}` is declared, and no migration creates it: add `.create(…)` to one of them"
                )));
            }
        }
        let tables = Tables::new(kinds.iter().map(|(name, kind)| (name.clone(), *kind))).with_columns(&model);
        let gate = |dialect| {
            Gate::new(dialect, tables.clone())
                .with_functions(self.functions.iter().cloned())
                .with_types(self.types.iter().cloned())
        };
        let (postgres, sqlite) = (gate(Dialect::Postgres), gate(Dialect::Sqlite));
        let declared = Declared {
            kinds,
            columns: model,
            #[cfg(feature = "postgres")]
            functions: self.functions,
            #[cfg(feature = "postgres")]
            types: self.types,
            migrations: self.migrations,
            postgres,
            sqlite,
        };
        Ok(Data {
            declared: Arc::new(declared),
            #[cfg(feature = "postgres")]
            app: None,
            #[cfg(feature = "postgres")]
            reader: None,
            #[cfg(feature = "postgres")]
            credentials: None,
            sources: Arc::default(),
        })
    }
}
