//! The PostgreSQL server that the tests and benchmarks of a run share.

use cloacina_testing::cluster::{Cluster, URL_VARIABLE};

use crate::cargo::{Cargo, Failure};

/// A server for the commands we run; one of our own is gone when this is dropped.
pub(crate) enum Postgres {
    Own(Cluster),
    /// The variable is set, and whoever we run inherits it.
    Given,
}

impl Postgres {
    pub(crate) fn start() -> Result<Self, Failure> {
        if std::env::var_os(URL_VARIABLE).is_some() {
            return Ok(Self::Given);
        }
        Cluster::start().map(Self::Own).map_err(|error| Failure::Other(error.to_string()))
    }

    /// The superuser's URL.
    pub(crate) fn url(&self) -> Result<String, Failure> {
        match self {
            Self::Own(cluster) => Ok(cluster.superuser_url("postgres")),
            Self::Given => std::env::var(URL_VARIABLE)
                .map_err(|error| Failure::Other(format!("failed to read {URL_VARIABLE}: {error}"))),
        }
    }

    pub(crate) fn hand_to<'a>(&self, command: &'a mut Cargo) -> &'a mut Cargo {
        match self {
            Self::Own(cluster) => command.env(URL_VARIABLE, cluster.superuser_url("postgres")),
            Self::Given => command,
        }
    }
}

/// Starts a cluster and keeps it until we are ended.
///
/// Nothing catches Ctrl-C: the cluster ends with its owner, however that ends.
pub(crate) fn keep() -> Result<(), Failure> {
    let cluster = Cluster::start().map_err(|error| Failure::Other(error.to_string()))?;
    println!("{}", cluster.superuser_url("postgres"));
    eprintln!("socket and log in {}; Ctrl-C ends it", cluster.socket_directory().display());
    loop {
        std::thread::park();
    }
}
