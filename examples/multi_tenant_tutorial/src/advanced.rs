//! Customers with database logins of their own.
//!
//! A second run finds the tenants of the first one and gives them new credentials.

#![expect(
    clippy::uninlined_format_args,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "it is written as the tutorial has it"
)]

use std::collections::HashMap;

use cloacina::database::{AdminErrorKind, Database, DatabaseAdmin, TenantConfig, TenantCredentials};
use cloacina::runner::Runner;
use cloacina::{Context, Error, task, workflow};
use tracing::{error, info, warn};

#[task(id = "tenant_onboarding")]
async fn tenant_onboarding(mut context: Context) -> Result<Context, Error> {
    let tenant_name = context.get::<String>("tenant_name").unwrap_or_default();
    let tenant_type = context.get::<String>("tenant_type").unwrap_or_default();

    info!("Onboarding new tenant: {} (type: {})", tenant_name, tenant_type);

    // Simulate tenant-specific setup
    let setup_tasks = match tenant_type.as_str() {
        "enterprise" => {
            vec!["provision_resources", "setup_integrations", "configure_billing", "setup_support"]
        }
        "professional" => vec!["provision_resources", "setup_integrations", "configure_billing"],
        "starter" => vec!["provision_resources", "configure_billing"],
        _ => vec!["provision_resources"],
    };

    info!("Executing {} setup tasks for {}", setup_tasks.len(), tenant_name);

    for task in &setup_tasks {
        info!("  ✓ Completed: {}", task);
    }

    context.set("onboarding_completed", true);
    context.set("setup_tasks_count", setup_tasks.len());
    context.set("tenant_status", "active");

    Ok(context)
}

#[task(id = "process_tenant_data")]
async fn process_tenant_data(mut context: Context) -> Result<Context, Error> {
    let tenant_id = context.get::<String>("tenant_id").unwrap_or_default();
    let data_volume = context.get::<String>("data_volume").unwrap_or_default();

    info!("Processing {} data for tenant: {}", data_volume, tenant_id);

    // Simulate data processing based on volume
    let (processing_time, records_processed) = match data_volume.as_str() {
        "large" => (5000, 50000),
        "medium" => (2000, 15000),
        "small" => (500, 2000),
        _ => (100, 100),
    };

    // Simulate processing delay
    tokio::time::sleep(tokio::time::Duration::from_millis(processing_time / 10)).await;

    info!("Processed {} records in {}ms for {}", records_processed, processing_time, tenant_id);

    context.set("records_processed", records_processed);
    context.set("processing_time_ms", processing_time);
    context.set("processing_status", "completed");

    Ok(context)
}

#[workflow]
fn tenant_onboarding_workflow() -> cloacina::Workflow {
    cloacina::Workflow::builder("tenant_onboarding")
        .description("Complete tenant onboarding process")
        .task(tenant_onboarding)
        .build()
}

#[workflow]
fn tenant_data_processing_workflow() -> cloacina::Workflow {
    cloacina::Workflow::builder("tenant_data_processing")
        .description("Process tenant-specific data with isolation")
        .task(process_tenant_data)
        .build()
}

pub struct TenantManager {
    admin: DatabaseAdmin,
    tenant_runners: HashMap<String, Runner>,
    tenant_credentials: HashMap<String, TenantCredentials>,
}

impl TenantManager {
    pub fn new(admin_database_url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        // The database of the URL, "cloacina" unless another one was named.
        let database_name = admin_database_url.split('?').next().and_then(|url| url.rsplit('/').next());
        let admin_db = Database::new(admin_database_url, database_name.unwrap_or("cloacina"), 10);
        let admin = DatabaseAdmin::new(admin_db);

        Ok(Self { admin, tenant_runners: HashMap::new(), tenant_credentials: HashMap::new() })
    }

    pub async fn provision_tenant(
        &mut self,
        tenant_id: &str,
        tenant_name: &str,
    ) -> Result<&TenantCredentials, Box<dyn std::error::Error>> {
        info!("Provisioning tenant: {} ({})", tenant_name, tenant_id);

        // Create tenant configuration
        let tenant_config = TenantConfig {
            schema_name: format!("tenant_{}", tenant_id),
            username: format!("{}_user", tenant_id),
            password: String::new(), // Auto-generate secure password
        };

        let schema_name = tenant_config.schema_name.clone();

        // Create tenant using admin API
        let credentials = match self.admin.create_tenant(tenant_config).await {
            Err(error) if error.kind() == AdminErrorKind::AlreadyExists => {
                // Nobody has kept its password, so it is given another one.
                info!("Tenant {} is there already: {}", tenant_id, error);
                self.admin.rotate_credentials(&schema_name).await?
            }
            created => created?,
        };

        info!("✓ Tenant {} provisioned successfully", tenant_id);
        info!("  Schema: {}", credentials.schema_name);
        info!("  Username: {}", credentials.username);
        info!("  Connection ready");

        self.tenant_credentials.insert(tenant_id.to_string(), credentials);

        Ok(self.tenant_credentials.get(tenant_id).unwrap())
    }

    pub async fn create_tenant_runner(&mut self, tenant_id: &str) -> Result<(), Box<dyn std::error::Error>> {
        let credentials = self
            .tenant_credentials
            .get(tenant_id)
            .ok_or_else(|| format!("Tenant {} not provisioned", tenant_id))?;

        info!("Creating runner for tenant: {}", tenant_id);

        // Create runner with tenant-specific credentials
        let runner = Runner::new(&credentials.connection_string).await?;
        self.tenant_runners.insert(tenant_id.to_string(), runner);

        info!("✓ Runner created for tenant {} with isolated credentials", tenant_id);

        Ok(())
    }

    pub async fn onboard_customer(
        &mut self,
        tenant_id: &str,
        tenant_name: &str,
        tenant_type: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        info!("Starting complete onboarding for: {} ({})", tenant_name, tenant_id);

        // Step 1: Provision tenant infrastructure
        self.provision_tenant(tenant_id, tenant_name).await?;

        // Step 2: Create tenant runner
        self.create_tenant_runner(tenant_id).await?;

        // Step 3: Execute onboarding workflow
        let runner = self.tenant_runners.get(tenant_id).unwrap();

        let context = Context::new()
            .with("tenant_id", tenant_id.to_string())
            .with("tenant_name", tenant_name.to_string())
            .with("tenant_type", tenant_type.to_string());

        let result = runner.execute("tenant_onboarding", context).await?;

        if result.status.is_success() {
            let task_count = result.final_context.get::<usize>("setup_tasks_count").unwrap_or(0);
            info!("✓ Tenant {} onboarded successfully with {} setup tasks", tenant_id, task_count);
        } else {
            error!("✗ Tenant {} onboarding failed: {:?}", tenant_id, result.status);
        }

        Ok(())
    }

    pub async fn process_tenant_workload(
        &self,
        tenant_id: &str,
        data_volume: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let runner = self
            .tenant_runners
            .get(tenant_id)
            .ok_or_else(|| format!("No runner for tenant {}", tenant_id))?;

        info!("Processing {} workload for tenant: {}", data_volume, tenant_id);

        let context = Context::new()
            .with("tenant_id", tenant_id.to_string())
            .with("data_volume", data_volume.to_string());

        let result = runner.execute("tenant_data_processing", context).await?;

        if result.status.is_success() {
            let records = result.final_context.get::<i32>("records_processed").unwrap_or(0);
            let time_ms = result.final_context.get::<i32>("processing_time_ms").unwrap_or(0);
            info!("✓ Processed {} records in {}ms for tenant {}", records, time_ms, tenant_id);
        } else {
            error!("✗ Processing failed for tenant {}: {:?}", tenant_id, result.status);
        }

        Ok(())
    }

    pub async fn shutdown_all(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        info!("Shutting down all tenant runners...");

        for (tenant_id, runner) in self.tenant_runners.drain() {
            info!("Shutting down runner for tenant: {}", tenant_id);
            runner.shutdown().await?;
        }

        info!("All tenant runners shut down successfully");
        Ok(())
    }
}

pub async fn advanced_multi_tenant_demo(admin_database_url: &str) -> Result<(), Box<dyn std::error::Error>> {
    info!("=== Advanced Multi-Tenant Demo with Admin API ===");

    let mut tenant_manager = TenantManager::new(admin_database_url)?;

    // Define tenant configurations
    let tenants = vec![
        ("acme_corp", "Acme Corporation", "enterprise"),
        ("globex_inc", "Globex Industries", "professional"),
        ("initech", "Initech Solutions", "starter"),
    ];

    // Phase 1: Tenant Onboarding
    info!("Phase 1: Complete Tenant Onboarding");
    info!("{}", "-".repeat(40));

    for (tenant_id, tenant_name, tenant_type) in &tenants {
        match tenant_manager.onboard_customer(tenant_id, tenant_name, tenant_type).await {
            Ok(()) => info!("✅ {} onboarded successfully", tenant_name),
            Err(e) => error!("❌ Failed to onboard {}: {}", tenant_name, e),
        }
    }

    // Phase 2: Workload Processing
    info!("\nPhase 2: Tenant Workload Processing");
    info!("{}", "-".repeat(40));

    let workloads = vec![
        ("acme_corp", "large"),
        ("globex_inc", "medium"),
        ("initech", "small"),
        ("acme_corp", "medium"), // Multiple workloads for same tenant
    ];

    for (tenant_id, volume) in &workloads {
        match tenant_manager.process_tenant_workload(tenant_id, volume).await {
            Ok(()) => info!("✅ {} workload completed for {}", volume, tenant_id),
            Err(e) => error!("❌ Failed {} workload for {}: {}", volume, tenant_id, e),
        }
    }

    // Phase 3: Demonstrate Isolation
    info!("\nPhase 3: Demonstrating Tenant Isolation");
    info!("{}", "-".repeat(40));

    // Simulate concurrent processing to show isolation
    let mut handles = vec![];

    for (tenant_id, _, _) in &tenants {
        let tenant_id = tenant_id.to_string();
        // Not there if it could not be onboarded
        let Some(runner) = tenant_manager.tenant_runners.get(&tenant_id) else { continue };

        // Clone the runner (Arc<> internally)
        let runner_clone = runner.clone();

        let handle = tokio::spawn(async move {
            let context = Context::new().with("tenant_id", tenant_id.clone()).with("data_volume", "medium");

            let result = runner_clone.execute("tenant_data_processing", context).await;

            match result {
                Ok(r) if r.status.is_success() => {
                    let records = r.final_context.get::<i32>("records_processed").unwrap_or(0);
                    info!("🔄 Concurrent processing for {}: {} records", tenant_id, records);
                }
                Ok(r) => warn!("⚠️  Concurrent processing failed for {}: {:?}", tenant_id, r.status),
                Err(e) => error!("❌ Concurrent processing error for {}: {}", tenant_id, e),
            }
        });

        handles.push(handle);
    }

    // Wait for all concurrent executions
    for handle in handles {
        handle.await?;
    }

    info!("✅ All concurrent executions completed with full isolation");

    // Cleanup
    tenant_manager.shutdown_all().await?;

    info!("🎉 Advanced multi-tenant demo completed successfully!");

    Ok(())
}
