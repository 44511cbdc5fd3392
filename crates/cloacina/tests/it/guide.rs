//! The program that a user writes after reading the guide to many tenants: it has to compile as it stands
//! there, and to work.

#![expect(clippy::uninlined_format_args, reason = "it is written as the guide has it")]
#![cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "a manager of schemas needs PostgreSQL"))]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cloacina::executor::unified_executor::UnifiedExecutor;
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, Error, ExecutionResult, ExecutionStatus, task, workflow};
use tokio::sync::RwLock;

use crate::support::Database;

#[task(id = "process_customer_data")]
async fn process_customer_data(mut context: Context) -> Result<Context, Error> {
    let tenant_id = context.get::<String>("tenant_id").unwrap_or_default();
    let customer_name = context.get::<String>("customer_name").unwrap_or_default();
    let processed_records = match tenant_id.as_str() {
        "acme_corp" => 1250,
        "globex_inc" => 890,
        _ => 100,
    };
    context.set("processed_records", processed_records);
    context.set("processing_completed", !customer_name.is_empty());
    Ok(context)
}

#[workflow]
fn customer_processing_workflow() -> cloacina::Workflow {
    cloacina::Workflow::builder("customer_processing")
        .description("Process customer data in isolated tenant environment")
        .task(process_customer_data)
        .build()
}

/// Keeps one executor for each tenant, made when it is first asked for.
struct TenantManager {
    database_url: String,
    executors: Arc<RwLock<HashMap<String, UnifiedExecutor>>>,
}

impl TenantManager {
    fn new(database_url: String) -> Self {
        Self { database_url, executors: Arc::new(RwLock::new(HashMap::new())) }
    }

    async fn get_executor(&self, tenant_id: &str) -> Result<UnifiedExecutor, Box<dyn std::error::Error>> {
        {
            let executors = self.executors.read().await;
            if let Some(executor) = executors.get(tenant_id) {
                return Ok(executor.clone());
            }
        }
        let executor = UnifiedExecutor::with_schema(&self.database_url, tenant_id).await?;
        {
            let mut executors = self.executors.write().await;
            executors.insert(tenant_id.to_string(), executor.clone());
        }
        Ok(executor)
    }

    async fn execute_for_tenant(
        &self,
        tenant_id: &str,
        workflow_name: &str,
        context: Context<serde_json::Value>,
    ) -> Result<ExecutionResult, Box<dyn std::error::Error>> {
        let executor = self.get_executor(tenant_id).await?;
        let result = executor.execute(workflow_name, context).await?;
        Ok(result)
    }

    async fn get_tenant_metrics(&self, tenant_id: &str) -> Result<TenantMetrics, Box<dyn std::error::Error>> {
        let executor = self.get_executor(tenant_id).await?;
        let executions = executor.list_executions().await?;
        let total = executions.len() as u64;
        let avg_duration =
            executions.iter().filter_map(|e| e.duration).sum::<Duration>() / (total.max(1) as u32);
        Ok(TenantMetrics {
            active_executions: executions
                .iter()
                .filter(|e| matches!(e.status, ExecutionStatus::Running))
                .count(),
            total_executions: total,
            avg_execution_time: avg_duration,
        })
    }
}

struct TenantMetrics {
    active_executions: usize,
    total_executions: u64,
    avg_execution_time: Duration,
}

#[derive(Debug, PartialEq)]
struct ExecutionResponse {
    execution_id: String,
    status: String,
}

#[derive(Debug, PartialEq)]
enum Refused {
    BadRequest,
    NotFound,
    Internal,
}

/// What a web service answers to a request to run something; its future crosses threads there.
async fn execute_workflow(
    tenant_id: String,
    manager: Arc<TenantManager>,
    workflow_name: String,
    body: serde_json::Value,
) -> Result<ExecutionResponse, Refused> {
    let context = Context::from_value(body).map_err(|_| Refused::BadRequest)?;
    match manager.execute_for_tenant(&tenant_id, &workflow_name, context).await {
        Ok(result) => Ok(ExecutionResponse {
            execution_id: result.execution_id.to_string(),
            status: format!("{:?}", result.status),
        }),
        Err(_) => Err(Refused::Internal),
    }
}

async fn get_execution_status(
    tenant_id: String,
    execution_id: String,
    manager: Arc<TenantManager>,
) -> Result<ExecutionResponse, Refused> {
    let executor = manager.get_executor(&tenant_id).await.map_err(|_| Refused::Internal)?;
    let execution_id = execution_id.parse().map_err(|_| Refused::BadRequest)?;
    match executor.get_execution_status(execution_id).await {
        Ok(status) => {
            Ok(ExecutionResponse { execution_id: execution_id.to_string(), status: format!("{:?}", status) })
        }
        Err(_) => Err(Refused::NotFound),
    }
}

#[derive(Debug)]
struct TenantConfig {
    database_url: String,
    schema: Option<String>,
    max_concurrent_tasks: Option<usize>,
    task_timeout_seconds: Option<u64>,
    db_pool_size: Option<u32>,
}

impl TenantConfig {
    async fn create_executor(&self) -> Result<UnifiedExecutor, Box<dyn std::error::Error>> {
        let mut builder = UnifiedExecutor::builder().database_url(&self.database_url);
        if let Some(ref schema) = self.schema {
            builder = builder.schema(schema);
        }
        if let Some(max_tasks) = self.max_concurrent_tasks {
            builder = builder.max_concurrent_tasks(max_tasks);
        }
        if let Some(timeout) = self.task_timeout_seconds {
            builder = builder.task_timeout(Duration::from_secs(timeout));
        }
        if let Some(pool_size) = self.db_pool_size {
            builder = builder.db_pool_size(pool_size);
        }
        Ok(builder.build().await?)
    }
}

/// Runs something for every tenant and shuts all of them down.
async fn run_for_each(
    runners: HashMap<String, Runner>,
) -> Result<HashMap<String, i32>, Box<dyn std::error::Error>> {
    let mut records = HashMap::new();
    for (tenant_id, runner) in &runners {
        let context = Context::new()
            .with("tenant_id", tenant_id.clone())
            .with("customer_name", format!("{} Customer", tenant_id));
        let result = runner.execute("customer_processing", context).await?;
        if result.status.is_success() {
            let count = result.final_context.get::<i32>("processed_records").unwrap_or(0);
            records.insert(tenant_id.to_string(), count);
        }
    }
    for (_, runner) in runners {
        runner.shutdown().await?;
    }
    Ok(records)
}

on_each_store! {
    async fn executors_are_made_from_settings_that_may_be_missing(database: Database) {
        let full = TenantConfig {
            database_url: database.url.clone(),
            schema: database.schema.clone(),
            max_concurrent_tasks: Some(8),
            task_timeout_seconds: Some(300),
            db_pool_size: Some(10),
        };
        let bare = TenantConfig { max_concurrent_tasks: None, task_timeout_seconds: None, db_pool_size: None, ..full };
        let executor = bare.create_executor().await.unwrap();
        let execution = executor.execute_async("customer_processing", Context::new()).await.unwrap();
        assert!(execution.wait_for_completion().await.unwrap().status.is_success());
        executor.shutdown().await.unwrap();
    }
}

#[cfg(feature = "postgres")]
mod on_postgres {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_tenant_has_a_schema() {
        let database = Database::postgres().await;
        let database_url = database.url.as_str();
        let mut tenant_runners = HashMap::new();
        for tenant_id in &["acme_corp", "globex_inc", "initech"] {
            let runner = Runner::with_schema(database_url, tenant_id).await.unwrap();
            tenant_runners.insert(tenant_id.to_string(), runner);
        }
        let records = run_for_each(tenant_runners).await.unwrap();
        assert_eq!(
            records,
            HashMap::from(
                [("acme_corp", 1250), ("globex_inc", 890), ("initech", 100)].map(|(k, v)| (k.to_string(), v))
            )
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_web_service_runs_workflows_for_its_tenants() {
        let database = Database::postgres().await;
        let manager = Arc::new(TenantManager::new(database.url.clone()));
        let run = |tenant: &str, workflow: &str, body| {
            tokio::spawn(execute_workflow(tenant.to_string(), manager.clone(), workflow.to_string(), body))
        };
        let ask = |tenant: &str, id: &str| {
            tokio::spawn(get_execution_status(tenant.to_string(), id.to_string(), manager.clone()))
        };
        let body = || serde_json::json!({"tenant_id": "acme_corp"});
        let done = run("acme_corp", "customer_processing", body()).await.unwrap().unwrap();
        assert_eq!(done.status, "Completed");
        let ExecutionResponse { execution_id: id, .. } = &done;
        assert_eq!(ask("acme_corp", id).await.unwrap().unwrap(), done);
        // Nobody else's business.
        assert_eq!(ask("globex_inc", id).await.unwrap(), Err(Refused::NotFound));
        assert_eq!(ask("acme_corp", "no id").await.unwrap(), Err(Refused::BadRequest));
        assert_eq!(
            run("acme_corp", "customer_processing", serde_json::json!([])).await.unwrap(),
            Err(Refused::BadRequest)
        );
        assert_eq!(run("acme_corp", "no such", body()).await.unwrap(), Err(Refused::Internal));
        assert_eq!(run("acme-corp", "customer_processing", body()).await.unwrap(), Err(Refused::Internal));

        let metrics = manager.get_tenant_metrics("acme_corp").await.unwrap();
        assert_eq!((metrics.total_executions, metrics.active_executions), (1, 0));
        assert!(metrics.avg_execution_time > Duration::ZERO);
        assert_eq!(manager.get_tenant_metrics("globex_inc").await.unwrap().total_executions, 0);
        for executor in manager.executors.read().await.values() {
            executor.shutdown().await.unwrap();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn executions_of_two_tenants_are_apart() {
        let database = Database::postgres().await;
        let database_url = database.url.as_str();
        let tenant_a = UnifiedExecutor::with_schema(database_url, "test_tenant_a").await.unwrap();
        let tenant_b = UnifiedExecutor::with_schema(database_url, "test_tenant_b").await.unwrap();
        let context_a = Context::new();
        let context_b = Context::new();
        let result_a = tenant_a.execute_async("customer_processing", context_a).await.unwrap();
        let result_b = tenant_b.execute_async("customer_processing", context_b).await.unwrap();
        assert_ne!(result_a.execution_id, result_b.execution_id);
        tenant_a.shutdown().await.unwrap();
        tenant_b.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_runner_with_few_connections_works() {
        let database = Database::postgres().await;
        let runner = Runner::with_config(&database.url, RunnerConfig::builder().max_connections(5).build())
            .await
            .unwrap();
        let result = runner.execute("customer_processing", Context::new()).await.unwrap();
        assert!(result.status.is_success());
        runner.shutdown().await.unwrap();
    }
}

#[cfg(feature = "sqlite")]
mod on_sqlite {
    use std::fs;

    use super::*;

    /// Keeps one file for each tenant in a directory.
    struct SqliteTenantManager {
        data_dir: String,
    }

    impl SqliteTenantManager {
        fn new(data_dir: &str) -> Result<Self, Box<dyn std::error::Error>> {
            fs::create_dir_all(data_dir)?;
            Ok(Self { data_dir: data_dir.to_string() })
        }

        async fn get_executor(&self, tenant_id: &str) -> Result<UnifiedExecutor, Box<dyn std::error::Error>> {
            if !tenant_id.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
                return Err("Invalid tenant ID format".into());
            }
            let db_path = format!("sqlite://{}/{}.db", self.data_dir, tenant_id);
            let executor = UnifiedExecutor::new(&db_path).await?;
            Ok(executor)
        }

        #[expect(clippy::collapsible_if, reason = "it is written as the guide has it")]
        fn list_tenants(&self) -> Result<Vec<String>, Box<dyn std::error::Error>> {
            let mut tenants = Vec::new();
            for entry in fs::read_dir(&self.data_dir)? {
                let path = entry?.path();
                if path.extension().and_then(|s| s.to_str()) == Some("db") {
                    if let Some(name) = path.file_stem().and_then(|s| s.to_str()) {
                        tenants.push(name.to_string());
                    }
                }
            }
            tenants.sort();
            Ok(tenants)
        }

        fn delete_tenant(&self, tenant_id: &str) -> Result<(), Box<dyn std::error::Error>> {
            let db_path = format!("{}/{}.db", self.data_dir, tenant_id);
            fs::remove_file(db_path)?;
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn each_tenant_has_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = directory.path().join("tenants").display().to_string();
        let manager = SqliteTenantManager::new(&data_dir).unwrap();
        let mut runners = HashMap::new();
        for tenant_id in ["acme_corp", "globex-inc"] {
            runners.insert(tenant_id.to_string(), manager.get_executor(tenant_id).await.unwrap());
        }
        // Asked for again it is the same place.
        let again = manager.get_executor("acme_corp").await.unwrap();
        assert!(manager.get_executor("../acme").await.is_err());
        assert_eq!(manager.list_tenants().unwrap(), ["acme_corp", "globex-inc"]);
        let records = run_for_each(runners).await.unwrap();
        assert_eq!(records["acme_corp"], 1250);
        assert_eq!(again.list_executions().await.unwrap().len(), 1);
        again.shutdown().await.unwrap();
        // A tenant is gone with its file: nothing else is left of it once its runners have ended.
        manager.delete_tenant("acme_corp").unwrap();
        assert_eq!(manager.list_tenants().unwrap(), ["globex-inc"]);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1);
        let anew = manager.get_executor("acme_corp").await.unwrap();
        assert!(anew.list_executions().await.unwrap().is_empty());
        anew.shutdown().await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn two_files_are_two_tenants() {
        let directory = tempfile::tempdir().unwrap();
        let url = |tenant: &str| format!("sqlite://{}/{tenant}.db", directory.path().display());
        let tenant_a = Runner::with_config(&url("tenant_a"), RunnerConfig::default()).await.unwrap();
        let tenant_b = Runner::with_config(&url("tenant_b"), RunnerConfig::default()).await.unwrap();
        tenant_a.execute("customer_processing", Context::new()).await.unwrap();
        assert!(tenant_b.list_executions().await.unwrap().is_empty());
        tenant_a.shutdown().await.unwrap();
        tenant_b.shutdown().await.unwrap();
    }
}
