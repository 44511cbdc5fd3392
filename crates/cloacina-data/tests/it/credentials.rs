//! An operator's runner and tenants that have logins of their own.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloacina::data::sea_orm::{self, EntityTrait, PaginatorTrait};
use cloacina::data::{CredentialSource, Data, DataError, DataErrorKind, TenantDb, TenantLogin, TenantTx};
use cloacina::database::{DatabaseAdmin, TenantConfig, TenantCredentials};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, ExecutionStatus, Task, task};

use crate::model::{data, member, new_member};
use crate::support::{PATIENCE, administered, assert_says, workflow};

/// Passwords by the names of tenants.
#[derive(Clone, Default)]
struct Vault {
    logins: Arc<Mutex<HashMap<String, TenantLogin>>>,
    asked: Arc<Mutex<usize>>,
}

impl CredentialSource for Vault {
    async fn login(&self, tenant: &str) -> Result<TenantLogin, Box<dyn Error + Send + Sync>> {
        *self.asked.lock().unwrap() += 1;
        self.logins.lock().unwrap().get(tenant).cloned().ok_or_else(|| "the vault is sealed".into())
    }
}

impl Vault {
    fn keep(&self, tenant: &str, credentials: &TenantCredentials) {
        let login = TenantLogin::new(&credentials.username, &credentials.password);
        self.logins.lock().unwrap().insert(tenant.to_owned(), login);
    }
}

/// A database with an operator's ordinary login and two tenants that have their own.
struct Operated {
    admin: DatabaseAdmin,
    operator: String,
    vault: Vault,
    acme: TenantCredentials,
    globex: TenantCredentials,
}

impl Operated {
    async fn new() -> Self {
        let (admin, admin_url, operator) = administered().await;
        let database = admin_url.rsplit('/').next().unwrap().to_owned();
        let make = async |tenant: &str| {
            let config = TenantConfig {
                schema_name: format!("of_{tenant}"),
                username: format!("{database}_{tenant}"),
                password: String::new(),
            };
            admin.create_named_tenant(tenant, config).await.unwrap()
        };
        let (acme, globex) = (make("acme").await, make("globex").await);
        data().migrate_tenants(&admin_url).await.unwrap();
        Self { operator, vault: Vault::default(), acme, globex, admin }
    }

    async fn runner(&self, tenant: &str, data: &Data) -> Runner {
        let steps = workflow("steps", [join.definition(), count.definition()]);
        let config = RunnerConfig::builder().workflow(steps).workflow(bare()).build();
        let builder = Runner::builder().database_url(&self.operator).tenant(tenant);
        builder.data(data).config(config).build().await.unwrap()
    }
}

/// A workflow that asks for no data.
fn bare() -> cloacina::Workflow {
    workflow("bare", [cloacina::TaskDefinition::from_async("t", async |context| Ok::<_, DataError>(context))])
}

#[task(id = "join")]
async fn join(context: Context, db: TenantDb) -> Result<Context, sea_orm::DbErr> {
    db.run_as(async |tx| member::Entity::insert(new_member("anna", "anna")).exec(tx).await).await?;
    Ok(context.with("tenant", db.tenant()))
}

#[task(id = "count", dependencies = [join])]
async fn count(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    member::Entity::insert(new_member("bea", "bea")).exec(tx).await?;
    context.set("submitted", tx.submit("bare").send().await?);
    context.set("members", member::Entity::find().count(tx).await?);
    Ok(())
}

async fn members(db: &TenantDb) -> Result<u64, DataError> {
    db.run_as(async |tx| member::Entity::find().count(tx).await.map_err(DataError::from)).await
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, Box::pin(test)).await.expect("it ends in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_on_an_operators_runner_work_with_the_tenants_own_login() {
    in_time(async {
        let operated = Operated::new().await;
        operated.vault.keep("acme", &operated.acme);
        operated.vault.keep("globex", &operated.globex);
        let data = data().credentials(operated.vault.clone());
        for tenant in ["acme", "globex"] {
            let runner = operated.runner(tenant, &data).await;
            let done = runner.execute("steps", Context::new()).await.unwrap();
            assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error_message);
            assert_eq!(done.final_context.get::<String>("tenant").as_deref(), Some(tenant));
            assert_eq!(done.final_context.get::<u64>("members"), Some(2));
            let by_task: uuid::Uuid = done.final_context.get("submitted").unwrap();
            let db = runner.data().unwrap();
            let from_outside = db.run_as(async |tx| tx.submit("bare").send().await).await.unwrap();
            for submitted in [by_task, from_outside] {
                let done = runner.execution(submitted).wait_for_completion().await.unwrap();
                assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error_message);
            }
            runner.shutdown().await.unwrap();
        }
        // Once for each tenant, however many transactions there were.
        assert_eq!(*operated.vault.asked.lock().unwrap(), 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_source_such_work_is_left_to_the_tenants_own_runner() {
    in_time(async {
        let operated = Operated::new().await;
        let runner = operated.runner("acme", &data()).await;
        let waiting = runner.execute_async("steps", Context::new()).await.unwrap();
        // What asks for no data is done, also after it.
        for _ in 0..3 {
            let bare = runner.execute("bare", Context::new()).await.unwrap();
            assert_eq!(bare.status, ExecutionStatus::Completed);
        }
        assert_eq!(waiting.get_status().await.unwrap(), ExecutionStatus::Pending);
        let error = members(&runner.data().unwrap()).await.unwrap_err();
        assert_says(&error, DataErrorKind::Configuration, "tenant `acme` has a login of its own");

        let steps = workflow("steps", [join.definition(), count.definition()]);
        let config = RunnerConfig::builder().workflow(steps).workflow(bare()).build();
        let own = Runner::builder().database_url(&operated.acme.connection_string).data(&data());
        let own = own.config(config).build().await.unwrap();
        let done = waiting.wait_for_completion().await.unwrap();
        assert_eq!(done.status, ExecutionStatus::Completed, "{:?}", done.error_message);
        own.shutdown().await.unwrap();
        runner.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_rotated_is_asked_for_again() {
    in_time(async {
        let operated = Operated::new().await;
        operated.vault.keep("acme", &operated.acme);
        let runner = operated.runner("acme", &data().credentials(operated.vault.clone())).await;
        let db = runner.data().unwrap();
        assert_eq!(members(&db).await.unwrap(), 0);
        let rotated = operated.admin.rotate_credentials_within("of_acme", Duration::ZERO).await.unwrap();
        operated.admin.reap_sessions().await.unwrap();
        let error = members(&db).await.unwrap_err();
        assert!(error.to_string().contains("tenant `acme`"), "{error}");
        operated.vault.keep("acme", &rotated);
        assert_eq!(members(&db).await.unwrap(), 0);
        runner.shutdown().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_fails_or_names_another_tenants_login_reaches_nothing() {
    in_time(async {
        let operated = Operated::new().await;
        let data = data().credentials(operated.vault.clone());
        let (acme, globex) = (operated.runner("acme", &data).await, operated.runner("globex", &data).await);
        let error = members(&acme.data().unwrap()).await.unwrap_err();
        assert_says(
            &error,
            DataErrorKind::Place,
            "tenant `acme`: no credentials of its login are to be had: the vault is sealed",
        );
        operated.vault.keep("globex", &operated.globex);
        assert_eq!(members(&globex.data().unwrap()).await.unwrap(), 0);
        operated.vault.keep("acme", &operated.globex);
        let error = members(&acme.data().unwrap()).await.unwrap_err();
        assert_says(&error, DataErrorKind::Place, "tenant `acme`");
        assert_eq!(members(&globex.data().unwrap()).await.unwrap(), 0);
        // The mistake is mended without a restart.
        operated.vault.keep("acme", &operated.acme);
        assert_eq!(members(&acme.data().unwrap()).await.unwrap(), 0);
        let shown = format!("{:?}", operated.vault.logins.lock().unwrap());
        assert!(!shown.contains(&operated.acme.password), "{shown}");
        acme.shutdown().await.unwrap();
        globex.shutdown().await.unwrap();
    })
    .await;
}
