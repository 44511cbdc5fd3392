//! Two tenants in one placement.

use std::sync::Arc;
use std::time::Duration;

use cloacina::data::{Data, DataError, TenantDb};
use cloacina::runner::{DefaultRunner, DefaultRunnerConfig};
use cloacina::{RetryPolicy, TaskDefinition, Workflow};
use cloacina_testing::cluster::Cluster;
use tempfile::TempDir;

/// Longer than any test takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Runs each test in every placement, in modules named after them.
macro_rules! in_each_placement {
    ($($(#[$attribute:meta])* async fn $name:ident($place:ident: Placement) $body:block)*) => {
        $($(#[$attribute])* async fn $name($place: $crate::support::Placement) $body)*

        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::sqlite());
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }

        mod schema {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Placement::schema().await);
                    tokio::time::timeout($crate::support::PATIENCE, Box::pin(test)).await.expect("it ends in time");
                }
            )*
        }
    };
}
pub(crate) use in_each_placement;

/// A kind of place, in which there may be any number of tenants.
#[derive(Clone)]
pub(crate) enum Placement {
    /// A SQLite file each.
    Sqlite(Arc<TempDir>),
    /// A schema each, in the PostgreSQL database of this URL.
    Schema(String),
}

impl Placement {
    pub(crate) fn sqlite() -> Self {
        Self::Sqlite(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub(crate) async fn schema() -> Self {
        Self::Schema(Cluster::shared().unwrap().fresh_database().await.unwrap())
    }

    /// A runner for a tenant, with the declared tables.
    pub(crate) async fn runner(&self, tenant: &str, data: &Data, workflows: Vec<Workflow>) -> DefaultRunner {
        let mut config = DefaultRunnerConfig::builder();
        for workflow in workflows {
            config = config.workflow(workflow);
        }
        self.with(tenant, data, config.build()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(&self, tenant: &str, data: &Data, config: DefaultRunnerConfig) -> DefaultRunner {
        let builder = DefaultRunner::builder().data(data).config(config);
        let builder = match self {
            Self::Sqlite(directory) => {
                builder.database_url(format!("sqlite://{}/{tenant}.db", directory.path().display()))
            }
            Self::Schema(url) => builder.database_url(url).schema(tenant),
        };
        builder.build().await.unwrap()
    }

    /// The runners of two tenants, and their data.
    pub(crate) async fn two(&self, data: &Data) -> Two {
        let (first, second) =
            (self.runner("acme", data, vec![]).await, self.runner("globex", data, vec![]).await);
        Two { acme: first.data().unwrap(), globex: second.data().unwrap(), _runners: [first, second] }
    }
}

/// Two tenants.
pub(crate) struct Two {
    pub(crate) acme: TenantDb,
    pub(crate) globex: TenantDb,
    _runners: [DefaultRunner; 2],
}

/// A workflow of these tasks, none of which is tried again.
pub(crate) fn workflow(name: &str, tasks: impl IntoIterator<Item = TaskDefinition>) -> Workflow {
    let builder = Workflow::builder(name);
    tasks.into_iter().fold(builder, |builder, task| builder.task(task.retry(RetryPolicy::NEVER))).build()
}

/// The kind and the words of an error.
#[track_caller]
pub(crate) fn assert_says(error: &DataError, kind: cloacina::data::DataErrorKind, words: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(words), "`{words}` is not in: {text}");
}
