//! The databases that are measured: fresh ones for each measure, so that none inherits another's tables.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use cloacina::{Runner, RunnerConfig};
use cloacina_testing::cluster::Cluster;
use tempfile::TempDir;

use crate::hand::{self, Hand};

/// Which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A fresh database, or a directory for files.
pub(crate) enum Database {
    Sqlite { directory: TempDir },
    Postgres { url: String },
}

impl Database {
    pub(crate) async fn fresh(kind: Kind) -> Result<Self> {
        match kind {
            Kind::Sqlite => {
                let directory = tempfile::Builder::new().prefix("cloacina-bench-").tempdir()?;
                Ok(Self::Sqlite { directory })
            }
            Kind::Postgres => Ok(Self::Postgres { url: Cluster::shared()?.fresh_database().await? }),
        }
    }

    /// A runner for the `number`th tenant.
    pub(crate) async fn runner(&self, number: usize) -> Result<Runner> {
        // Room for all that the measures have in flight: what is measured is the way of an execution, not the
        // wait for a slot.
        let config = RunnerConfig::builder()
            .max_concurrent_tasks(2048)
            .max_process_tasks(2048)
            .retention(None)
            .build();
        self.runner_with(number, config).await
    }

    pub(crate) async fn runner_with(&self, number: usize, config: RunnerConfig) -> Result<Runner> {
        let builder = Runner::builder().config(config).database_url(self.url(number)?);
        let builder = match self.schema(number) {
            Some(schema) => builder.schema(schema),
            None => builder,
        };
        Ok(builder.build().await?)
    }

    /// The URL by which the `number`th tenant is reached.
    pub(crate) fn url(&self, number: usize) -> Result<String> {
        match self {
            Self::Sqlite { .. } => Ok(format!("sqlite://{}", self.file(number)?.display())),
            Self::Postgres { url } => Ok(url.clone()),
        }
    }

    /// Its schema, if it has one.
    pub(crate) fn schema(&self, number: usize) -> Option<String> {
        matches!(self, Self::Postgres { .. }).then(|| schema(number))
    }

    /// Runners for this many tenants.
    pub(crate) async fn runners(&self, tenants: usize) -> Result<Vec<Runner>> {
        let mut runners = Vec::with_capacity(tenants);
        for number in 0..tenants {
            runners.push(self.runner(number).await?);
        }
        Ok(runners)
    }

    /// The work by hand, in the places of this many tenants.
    pub(crate) async fn hand(&self, tenants: usize) -> Result<Hand> {
        // The engine makes the tables, and is gone before anything is measured.
        for runner in self.runners(tenants).await? {
            runner.shutdown().await?;
        }
        Ok(match self {
            Self::Sqlite { .. } => {
                let files: Vec<PathBuf> =
                    (0..tenants).map(|number| self.file(number)).collect::<Result<_>>()?;
                Hand::Sqlite(hand::sqlite::Hand::open(&files)?)
            }
            Self::Postgres { url } => {
                let schemas: Vec<String> = (0..tenants).map(schema).collect();
                Hand::Postgres(hand::postgres::Hand::open(url, &schemas).await?)
            }
        })
    }

    pub(crate) fn file(&self, number: usize) -> Result<PathBuf> {
        match self {
            Self::Sqlite { directory } => Ok(directory.path().join(format!("tenant_{number}.db"))),
            Self::Postgres { .. } => anyhow::bail!("a PostgreSQL database is no file"),
        }
    }

    /// The process that the server's other processes are children of, where it runs on this machine and we
    /// may know.
    pub(crate) async fn server_process(&self) -> Result<Option<u32>> {
        let Self::Postgres { .. } = self else { return Ok(None) };
        let client = hand::postgres::connect(&Cluster::shared()?.superuser_url("postgres")).await?;
        let row = client.query_one("SELECT pg_read_file('postmaster.pid')", &[]).await?;
        let text: String = row.get(0);
        let pid = text.lines().next().context("postmaster.pid is empty")?.trim().parse()?;
        Ok(std::path::Path::new(&format!("/proc/{pid}")).exists().then_some(pid))
    }
}

/// The schema of the `number`th tenant.
pub(crate) fn schema(number: usize) -> String {
    format!("tenant_{number}")
}
