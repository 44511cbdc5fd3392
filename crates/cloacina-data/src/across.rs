//! Reading the data of several tenants that share tables.
//!
//! ```text
//! operator   BEGIN; grant_reading(reader, tenants, reason)  → a grant, and a row in the audit for each tenant; COMMIT
//! reader     BEGIN READ ONLY; presents the grant for one tenant; reads through the gate; COMMIT     once for each tenant
//! ```
//!
//! One tenant in each transaction: a statement is scoped to it as everywhere, the result needs no column that
//! says whose a row is, and keys, which are unique within a tenant, cannot be mistaken for each other in a
//! join. What is wanted of all of them is put together by the caller.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cloacina_core::id::TenantId;
use cloacina_core::store::Place;
use cloacina_postgres::{PostgresAddress, SchemaName};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, StreamTrait};
use uuid::Uuid;

use crate::access::Access;
use crate::connection::Connection;
use crate::db::TenantDb;
use crate::declaration::Data;
use crate::doctor;
use crate::error::{DataError, DataErrorKind, Result};
use crate::postgres::{self, Server};
use crate::source::{Backend, Source};
use crate::tx::TenantTx;

/// How long a grant is good, in seconds: for a report over all tenants, not for a day's work.
const GOOD_FOR: i32 = 15 * 60;

/// Whose data is to be read.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// That of all tenants that share tables now.
    All,
    /// That of the tenants that are called so.
    Only(&'a [&'a str]),
}

/// The reading of several tenants' data, as it was granted and put down in the audit. It can be used for a
/// quarter of an hour.
pub struct Across {
    source: Arc<Source>,
    server: Arc<Server>,
    grant: Uuid,
    tenants: Vec<Arc<Place>>,
}

/// A transaction that reads one tenant's data, among others: what SeaORM's queries run on.
///
/// It is no [`TenantTx`], so that what was written to work for one tenant cannot be given it by mistake. The
/// database takes no write on it.
pub struct ReadTx {
    inner: TenantTx,
}

impl Data {
    /// Reading the data of several tenants that share tables, for a `reason` that whoever reads the audit
    /// understands.
    ///
    /// The operator grants it in a transaction that writes a row to the audit for each tenant, and is
    /// committed before this returns; then the reader's login sees one tenant after the other, and can write
    /// nothing. On PostgreSQL, in shared tables only: of other tenants each is opened, and read as its own.
    ///
    /// # Errors
    ///
    /// [`Configuration`](crate::DataErrorKind::Configuration) without a reader's login, without a reason, or
    /// for another database; [`Place`](crate::DataErrorKind::Place) for a tenant that does not share tables,
    /// or tables that are not clean; and what the database says.
    pub async fn across(&self, operator_url: &str, reason: &str, scope: Scope<'_>) -> Result<Across> {
        Across::grant(self, operator_url, reason, scope).await
    }
}

impl Across {
    async fn grant(data: &Data, operator_url: &str, reason: &str, scope: Scope<'_>) -> Result<Self> {
        if !operator_url.starts_with("postgres") {
            return Err(DataError::configuration(
                "only tables that tenants share on PostgreSQL can be read across tenants: open each tenant, and read its data",
            ));
        }
        let address = PostgresAddress::parse(operator_url)
            .map_err(|error| DataError::configuration(error.to_string()))?;
        let Some(reader) = &data.reader else {
            return Err(DataError::configuration(
                "tenants are read across with a reader's login: make it with `DatabaseAdmin::create_reader_login`, and give it with \
                 `Data::reader_login`",
            ));
        };
        let names = match scope {
            Scope::All => None,
            Scope::Only(names) => Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()),
        };
        let server = Arc::new(Server::reader(&address, reader)?);
        let granted = postgres::grant(&address, &reader.username, reason, names, GOOD_FOR).await?;
        tracing::info!(
            reader = reader.username,
            tenants = granted.len(),
            reason,
            "reading across tenants was granted"
        );
        let grant = granted.first().map_or_else(Uuid::nil, |(grant, ..)| *grant);
        let place = |(_, tenant, name)| {
            let schema = SchemaName::shared().as_str().to_owned();
            Arc::new(Place { tenant: TenantId(tenant), name, schema, epoch: 1, shared: true })
        };
        let across = Self {
            source: Arc::new(Source::new(Arc::clone(&data.declared), Backend::Postgres(server.clone()))),
            server,
            grant,
            tenants: granted.into_iter().map(place).collect(),
        };
        across.examine().await?;
        Ok(across)
    }

    /// The tables and the reader's login have to be clean, as for those who work with them.
    async fn examine(&self) -> Result<()> {
        let Some(place) = self.tenants.first() else { return Ok(()) };
        let mut findings = self.server.verify_login(place, &self.source.declared).await?;
        findings.extend(self.server.verify_place(place, &self.source.declared).await?);
        doctor::admit(&place.name, findings)
    }

    /// Whose data may be read.
    pub fn tenants(&self) -> impl Iterator<Item = &str> {
        self.tenants.iter().map(|place| place.name.as_str())
    }

    /// Runs `work` in a transaction that reads one tenant's data.
    ///
    /// # Errors
    ///
    /// What `work` returns; [`Place`](DataErrorKind::Place) for a tenant that was not granted, or after the
    /// grant has ended; a [`DataError`] if the transaction could not be begun.
    pub async fn read<T, E, W>(&self, tenant: &str, work: W) -> Result<T, E>
    where
        E: From<DataError>,
        W: AsyncFnOnce(&ReadTx) -> Result<T, E>,
    {
        let Some(place) = self.tenants.iter().find(|place| place.name == tenant) else {
            let message = format!(
                "tenant `{}`: its data is none of that whose reading was granted; name it in the scope",
                tenant.escape_debug()
            );
            return Err(DataError::new(DataErrorKind::Place, message).into());
        };
        let open = self.server.read(place, self.grant).await?;
        let db = TenantDb::new(Arc::clone(&self.source), Arc::clone(place), None);
        let tx = ReadTx { inner: TenantTx::new(db, Connection::Postgres(open), Access::Read) };
        match work(&tx).await {
            Ok(value) => {
                tx.inner.finish().await?;
                Ok(value)
            }
            Err(error) => {
                tx.inner.undo().await;
                Err(error)
            }
        }
    }

    /// Runs `work` for each tenant in turn, in the order of their names, and returns what it made of each.
    /// Every tenant is read as it is when its turn comes.
    ///
    /// # Errors
    ///
    /// The first of [`read`](Self::read).
    pub async fn each<T, E, W>(&self, work: W) -> Result<Vec<(String, T)>, E>
    where
        E: From<DataError>,
        W: AsyncFn(&ReadTx) -> Result<T, E>,
    {
        let mut made = Vec::with_capacity(self.tenants.len());
        for place in &self.tenants {
            let of_this = self.read(&place.name, async |tx| work(tx).await).await?;
            made.push((place.name.clone(), of_this));
        }
        Ok(made)
    }
}

impl fmt::Debug for Across {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Across").field("tenants", &self.tenants.len()).finish_non_exhaustive()
    }
}

impl ReadTx {
    /// Whose data it reads.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.inner.tenant()
    }
}

impl fmt::Debug for ReadTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadTx").field("tenant", &self.tenant()).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl ConnectionTrait for ReadTx {
    fn get_database_backend(&self) -> DbBackend {
        ConnectionTrait::get_database_backend(&self.inner)
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.inner.query_all_raw(statement).await
    }
}

impl StreamTrait for ReadTx {
    type Stream<'a> = <TenantTx as StreamTrait>::Stream<'a>;

    fn get_database_backend(&self) -> DbBackend {
        StreamTrait::get_database_backend(&self.inner)
    }

    fn stream_raw<'a>(
        &'a self,
        statement: Statement,
    ) -> Pin<Box<dyn Future<Output = Result<Self::Stream<'a>, DbErr>> + 'a + Send>> {
        self.inner.stream_raw(statement)
    }
}
