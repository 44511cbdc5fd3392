//! What the tests say in one line.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloacina::runner::{Runner, RunnerBuilder, RunnerConfigBuilder};
use cloacina::{
    Context, Error, ErrorKind, Execution, ExecutionResult, ExecutionStatus, RetryPolicy, RunnerConfig,
    TaskDefinition, TaskError, TaskInfo, TaskResult, Workflow,
};
use tempfile::TempDir;
use tokio::sync::{Mutex, Semaphore, mpsc};

/// Longer than any test takes, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// Runs each test on every database that was compiled in, in modules named after them.
macro_rules! on_each_store {
    ($($(#[$attribute:meta])* async fn $name:ident($database:ident: Database) $body:block)*) => {
        $($(#[$attribute])* async fn $name($database: Database) $body)*

        #[cfg(feature = "sqlite")]
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Database::sqlite());
                    Box::pin($crate::support::in_time(test)).await;
                }
            )*
        }

        #[cfg(feature = "postgres")]
        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let test = super::$name($crate::support::Database::postgres().await);
                    Box::pin($crate::support::in_time(test)).await;
                }
            )*
        }
    };
}

/// A test that waits for ever fails instead.
pub(crate) async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("what the test waits for does not come")
}

/// A place of a test's own.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) schema: Option<String>,
    /// Of SQLite's file; removed with the last clone.
    pub(crate) directory: Option<Arc<TempDir>>,
}

impl Database {
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/acme.db", directory.path().display());
        Self { url, schema: None, directory: Some(Arc::new(directory)) }
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres() -> Self {
        let server = cloacina_testing::cluster::Cluster::shared().unwrap();
        let url = server.fresh_database().await.unwrap();
        Self { url, schema: Some("acme".to_owned()), directory: None }
    }

    /// The place of another tenant: a schema in the same database, or a file beside this one.
    pub(crate) fn of(&self, tenant: &str) -> Self {
        let mut other = self.clone();
        match &self.directory {
            Some(directory) => other.url = format!("sqlite://{}/{tenant}.db", directory.path().display()),
            None => other.schema = Some(tenant.to_owned()),
        }
        other
    }

    /// Where SQLite's file is.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|_| PathBuf::from(self.url.strip_prefix("sqlite://").unwrap()))
    }

    pub(crate) fn builder(&self) -> RunnerBuilder {
        let builder = Runner::builder().database_url(&self.url);
        match &self.schema {
            Some(schema) => builder.schema(schema),
            None => builder,
        }
    }

    /// A runner that knows these workflows.
    pub(crate) async fn runner(&self, workflows: impl IntoIterator<Item = Workflow>) -> Runner {
        self.configured(quick(), workflows).await
    }

    /// A runner with these settings that knows these workflows.
    pub(crate) async fn configured(
        &self,
        config: RunnerConfigBuilder,
        workflows: impl IntoIterator<Item = Workflow>,
    ) -> Runner {
        let config = workflows.into_iter().fold(config, RunnerConfigBuilder::workflow);
        self.builder().config(config.build()).build().await.unwrap()
    }

    /// Runs one workflow of these tasks to its end.
    pub(crate) async fn run(
        &self,
        input: Context,
        tasks: impl IntoIterator<Item = TaskDefinition>,
    ) -> ExecutionResult {
        let runner = self.runner([workflow("w", tasks)]).await;
        let result = runner.execute("w", input).await.unwrap();
        runner.shutdown().await.unwrap();
        result
    }
}

/// Settings under which nobody waits for long.
pub(crate) fn quick() -> RunnerConfigBuilder {
    RunnerConfig::builder().cancel_grace(Duration::from_millis(50))
}

pub(crate) fn workflow(name: &str, tasks: impl IntoIterator<Item = TaskDefinition>) -> Workflow {
    tasks.into_iter().fold(Workflow::builder(name), |builder, task| builder.task(task)).build()
}

/// A task that is tried once.
pub(crate) fn task<Fut>(id: &str, code: impl Fn(Context) -> Fut + Send + Sync + 'static) -> TaskDefinition
where
    Fut: Future<Output = Result<Context, TaskError>> + Send + 'static,
{
    TaskDefinition::from_async(id, code).retry(RetryPolicy::NEVER)
}

/// A task that sets a key.
pub(crate) fn setting(
    id: &str,
    key: &'static str,
    value: impl Into<serde_json::Value> + Clone,
) -> TaskDefinition {
    let value: serde_json::Value = value.into();
    task(id, move |context| {
        let value = value.clone();
        async move { Ok(context.with(key, value)) }
    })
}

/// A task that changes nothing.
pub(crate) fn idle(id: &str) -> TaskDefinition {
    task(id, |context| async { Ok(context) })
}

/// A task that fails, with its id in the error.
pub(crate) fn failing(id: &'static str) -> TaskDefinition {
    task(id, move |_| async move { Err(format!("{id} is broken").into()) })
}

/// A retry policy of so many attempts, without a wait between them.
pub(crate) fn attempts(attempts: u32) -> RetryPolicy {
    RetryPolicy { attempts, base: Duration::ZERO, ..RetryPolicy::DEFAULT }
}

/// Makes tasks that tell when they start and end only when they are let.
#[derive(Clone)]
pub(crate) struct Gate {
    started: mpsc::UnboundedSender<TaskInfo>,
    starts: Arc<Mutex<mpsc::UnboundedReceiver<TaskInfo>>>,
    open: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (started, starts) = mpsc::unbounded_channel();
        Self { started, starts: Arc::new(Mutex::new(starts)), open: Arc::new(Semaphore::new(0)) }
    }

    /// A task behind the gate.
    pub(crate) fn task(&self, id: &str) -> TaskDefinition {
        let Self { started, open, .. } = self.clone();
        task(id, move |context| {
            let (started, open) = (started.clone(), Arc::clone(&open));
            async move {
                started.send(context.task().clone()).unwrap();
                open.acquire().await.unwrap().forget();
                Ok(context)
            }
        })
    }

    /// The next task that starts.
    pub(crate) async fn started(&self) -> TaskInfo {
        in_time(self.starts.lock().await.recv()).await.unwrap()
    }

    /// Whether a task has started that nobody has waited for.
    pub(crate) async fn has_started(&self) -> bool {
        !self.starts.lock().await.is_empty()
    }

    /// Lets so many tasks end.
    pub(crate) fn open(&self, tasks: usize) {
        self.open.add_permits(tasks);
    }
}

/// Tells that it was dropped.
pub(crate) struct Dropped(pub(crate) mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        // Whether anybody listens is not our affair.
        self.0.send(()).unwrap_or_default();
    }
}

/// Looks again and again until something holds.
pub(crate) async fn until<Fut: Future<Output = bool>>(mut holds: impl FnMut() -> Fut) {
    in_time(async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until an execution is in this state.
pub(crate) async fn reaches(execution: &Execution, status: ExecutionStatus) {
    until(async || execution.get_status().await.unwrap() == status).await;
}

#[track_caller]
pub(crate) fn task_of<'a>(result: &'a ExecutionResult, id: &str) -> &'a TaskResult {
    result.task_results.iter().find(|task| task.task_id == id).unwrap()
}

/// The kind and the words of an error, which never holds a password.
#[track_caller]
pub(crate) fn assert_error(error: &Error, kind: ErrorKind, words: &str) {
    let text = in_full(error);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(error.to_string().contains(words), "`{words}` is not in: {text}");
}

/// Everything that an error says, in any way.
pub(crate) fn in_full(error: &Error) -> String {
    let mut text = format!("{error} / {error:?}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(" / {cause} / {cause:?}"));
        source = cause.source();
    }
    text
}
