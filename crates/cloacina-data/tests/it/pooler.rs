//! Tenants' data behind a pooler in transaction mode: each transaction may be another server process's, and
//! nothing may be left there.
//!
//! `CLOACINA_SEED` is the seed of what is random.

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::time::Duration;

use cloacina::data::sea_orm::{self, EntityTrait, PaginatorTrait};
use cloacina::data::{CredentialSource, Data, DataError, Scope, TenantLogin, TenantTx};
use cloacina::database::TenantConfig;
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, ErrorKind, ExecutionStatus, Task, task};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::pooler::Pooler;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use uuid::Uuid;

use crate::isolation::{count, everything, fill, switched};
use crate::model::{data, member, new_member};
use crate::support::{PATIENCE, administered, workflow};

/// The server processes of each login, on which its transactions take turns.
const SERVER_CONNECTIONS: usize = 2;

/// Of each tenant. The last ones are not dropped, so that no session ends that they could have left something
/// in.
const TRANSACTIONS: u64 = 300;
const NOT_DROPPED: u64 = 50;

/// The pooler is told passwords as they are in a URL, so there is nothing in them to be encoded.
const PASSWORD: &str = "open-sesame";

/// What a session is left with that is not of a new one. The first ones are those that the pooler itself sets
/// for its client.
const LEFT: &str = "
    SELECT format('%s is set to %s', name, setting) FROM pg_settings
    WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'standard_conforming_strings', 'TimeZone')
    UNION ALL SELECT format('it acts as %s', current_user) WHERE current_user <> session_user
    UNION ALL SELECT format('the statement %s is prepared', name) FROM pg_prepared_statements
    UNION ALL SELECT format('it listens on %s', channel) FROM pg_listening_channels() AS channel
    UNION ALL SELECT format('it has the lock %s', objid) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
    UNION ALL
    SELECT format('%s is set', name)
    FROM unnest('{cloacina.tenant, cloacina.key, cloacina.proof, cloacina.reading, cloacina.reading_of}'::text[]) AS name
    WHERE current_setting(name, true) <> ''";

/// Leaves a member, and submits something.
#[task(id = "visit")]
async fn visit(context: &mut Context, tx: &TenantTx) -> anyhow::Result<()> {
    let number: u64 = context.get("number").unwrap_or_default();
    let visitor = new_member(&format!("visitor {number}"), &format!("{} visitor", tx.tenant()));
    member::Entity::insert(visitor).exec(tx).await?;
    context.set("submitted", tx.submit("bare").send().await?);
    Ok(())
}

/// Two tenants of a database behind a pooler.
struct World {
    pooler: Pooler,
    /// How each login reaches the server without it.
    logins: Vec<String>,
    acme: Runner,
    globex: Runner,
}

fn config() -> RunnerConfig {
    let bare = cloacina::TaskDefinition::from_async("t", async |context| Ok::<_, DataError>(context));
    let builder = RunnerConfig::builder().workflow(workflow("visiting", [visit.definition()]));
    builder.workflow(workflow("bare", [bare])).build()
}

async fn pooler(logins: &[String]) -> Pooler {
    let logins: Vec<_> = logins.iter().map(String::as_str).collect();
    Pooler::start(&logins, SERVER_CONNECTIONS.try_into().unwrap()).await.unwrap()
}

/// A runner through the pooler, which hears others on a session of its own.
async fn by_name(pooler: &Pooler, url: &str, tenant: &str, data: &Data) -> Runner {
    let builder = Runner::builder().database_url(pooler.url_with_direct(url)).tenant(tenant);
    builder.data(data).config(config()).build().await.unwrap()
}

impl World {
    /// Schemas that the operator's login makes.
    async fn of_schemas() -> Self {
        let url = Cluster::shared().unwrap().fresh_database().await.unwrap();
        let logins = vec![url.clone()];
        let pooler = pooler(&logins).await;
        let data = data();
        let open = async |tenant: &str| {
            let builder = Runner::builder().database_url(pooler.url_with_direct(&url)).schema(tenant);
            builder.data(&data).config(config()).build().await.unwrap()
        };
        let (acme, globex) = (open("acme").await, open("globex").await);
        Self { logins, acme, globex, pooler }
    }

    /// Schemas with a login each, which a source knows.
    async fn of_logins() -> Self {
        let (admin, admin_url, operator) = administered().await;
        let database = admin_url.rsplit('/').next().unwrap();
        let (mut logins, mut vault) = (vec![admin_url.clone(), operator.clone()], Vault::default());
        for tenant in ["acme", "globex"] {
            let (schema_name, username) = (format!("of_{tenant}"), format!("{database}_{tenant}"));
            let config =
                TenantConfig { schema_name, username: username.clone(), password: PASSWORD.to_owned() };
            admin.create_named_tenant(tenant, config).await.unwrap();
            logins.push(Cluster::shared().unwrap().url(&username, PASSWORD, database));
            vault.0.insert(tenant.to_owned(), TenantLogin::new(username, PASSWORD));
        }
        let pooler = pooler(&logins).await;
        let data = data();
        assert_eq!(data.migrate_tenants(&pooler.url(&admin_url)).await.unwrap(), 2);
        assert_eq!(data.verify(&pooler.url(&admin_url)).await.unwrap(), []);
        let data = data.credentials(vault);
        let acme = by_name(&pooler, &operator, "acme", &data).await;
        let globex = by_name(&pooler, &operator, "globex", &data).await;
        Self { logins, acme, globex, pooler }
    }

    /// Tables that they share, and what may be read across them.
    async fn of_shared_tables() -> (Self, Data, String) {
        let (admin, admin_url, operator) = administered().await;
        let database = admin_url.rsplit('/').next().unwrap();
        let (app, reader) = (format!("app_{database}"), format!("reader_{database}"));
        for tenant in ["acme", "globex"] {
            admin.create_shared_tenant(tenant).await.unwrap();
        }
        admin.create_app_login(&app, PASSWORD.to_owned()).await.unwrap();
        admin.create_reader_login(&reader, PASSWORD.to_owned()).await.unwrap();
        let of = |login: &str| Cluster::shared().unwrap().url(login, PASSWORD, database);
        let logins = vec![admin_url.clone(), operator.clone(), of(&app), of(&reader)];
        let pooler = pooler(&logins).await;
        let data = data().app_login(&app, PASSWORD).reader_login(&reader, PASSWORD);
        data.migrate_shared(&pooler.url(&admin_url)).await.unwrap();
        assert_eq!(data.verify(&pooler.url(&admin_url)).await.unwrap(), []);
        let acme = by_name(&pooler, &operator, "acme", &data).await;
        let globex = by_name(&pooler, &operator, "globex", &data).await;
        (Self { logins, acme, globex, pooler }, data, operator)
    }

    /// Both tenants work at the same time, and much goes wrong.
    async fn play(&self) {
        let seed = count("CLOACINA_SEED", fastrand::u64(0..1_000_000));
        let mut rng = fastrand::Rng::with_seed(seed);
        let (of_acme, of_globex) = (rng.fork(), rng.fork());
        tokio::join!(works(&self.acme, seed, of_acme), works(&self.globex, seed, of_globex));
    }

    /// Ends the runners, and looks into every session that the pooler has.
    async fn nothing_is_left(self) {
        for runner in [&self.acme, &self.globex] {
            runner.shutdown().await.unwrap();
        }
        for login in &self.logins {
            let mut sessions = Vec::new();
            // Each keeps its server process, so that the next one gets another.
            for _ in 0..SERVER_CONNECTIONS {
                let session = connect(&self.pooler.plain_url(login)).await;
                session.batch_execute("BEGIN").await.unwrap();
                sessions.push(session);
            }
            let mut processes = BTreeSet::new();
            for session in &sessions {
                processes.extend(answers(session, "SELECT pg_backend_pid()").await);
                assert_eq!(answers(session, LEFT).await, Vec::<String>::new());
            }
            assert_eq!(processes.len(), SERVER_CONNECTIONS);
        }
    }
}

/// The passwords of the tenants' logins.
#[derive(Default)]
struct Vault(HashMap<String, TenantLogin>);

impl CredentialSource for Vault {
    async fn login(&self, tenant: &str) -> Result<TenantLogin, Box<dyn Error + Send + Sync>> {
        self.0.get(tenant).cloned().ok_or_else(|| "it is nobody's".into())
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The first column, without a statement that would be prepared.
async fn answers(session: &Client, sql: &str) -> Vec<String> {
    let messages = session.simple_query(sql).await.unwrap();
    let text = |message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.into_iter().filter_map(text).collect()
}

/// The transactions of one tenant. What fails does so because it has to; what is committed has its
/// executions, what is not has none.
async fn works(runner: &Runner, seed: u64, mut rng: fastrand::Rng) {
    let db = runner.data().unwrap();
    fill(&db).await;
    let (mut there, mut not_there, mut dropped) = (Vec::new(), Vec::new(), 0);
    for number in 0..TRANSACTIONS {
        let hint = format!("seed {seed}, transaction {number} of {}", db.tenant());
        if number % 10 == 0 {
            let done = runner.execute("visiting", Context::new().with("number", number)).await.unwrap();
            assert_eq!(done.status, ExecutionStatus::Completed, "{hint}: {:?}", done.error_message);
            there.push(done.final_context.get::<Uuid>("submitted").unwrap());
            continue;
        }
        let (kind, submits) = (rng.u32(0..10), rng.u32(0..4) == 0);
        let mut submitted = None;
        let work = db.run_as(async |tx| {
            if submits {
                submitted = Some(tx.submit("bare").send().await?);
            }
            anyhow::Ok(switched(kind, number, tx).await?)
        });
        let ended = match rng.u32(0..5) {
            0 if number < TRANSACTIONS - NOT_DROPPED => {
                tokio::time::timeout(Duration::from_micros(rng.u64(0..5_000)), work).await
            }
            _ => Ok(work.await),
        };
        match ended {
            // Nobody knows whether it was committed.
            Err(_) => dropped += 1,
            Ok(Err(error)) => {
                assert!(kind < 4, "{hint}: {error:?}");
                not_there.extend(submitted);
            }
            Ok(Ok(texts)) => {
                assert!(kind >= 4, "{hint}");
                assert!(texts.iter().all(|text| text.starts_with(db.tenant())), "{hint}: {texts:?}");
                there.extend(submitted);
            }
        }
    }
    assert!(dropped > 0 && not_there.len() > 3 && there.len() > 30, "seed {seed}");
    for execution in there {
        let done = runner.execution(execution).wait_for_completion().await.unwrap();
        assert_eq!(done.status, ExecutionStatus::Completed, "seed {seed}: {:?}", done.error_message);
    }
    for execution in not_there {
        let error = runner.get_execution_status(execution).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "seed {seed}: {error}");
    }
    let (members, letters) = everything(&db).await;
    let texts =
        members.into_iter().map(|member| member.name).chain(letters.into_iter().map(|letter| letter.title));
    let foreign: Vec<_> = texts.filter(|text| !text.starts_with(db.tenant())).collect();
    assert!(foreign.is_empty(), "seed {seed}: {foreign:?}");
}

async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(PATIENCE, Box::pin(test)).await.expect("it ends in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_in_schemas_take_turns_on_a_poolers_sessions_and_leave_nothing_in_them() {
    in_time(async {
        let world = World::of_schemas().await;
        world.play().await;
        assert_eq!(data().verify(&world.pooler.url(&world.logins[0])).await.unwrap(), []);
        world.nothing_is_left().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_with_logins_take_turns_on_a_poolers_sessions_and_leave_nothing_in_them() {
    in_time(async {
        let world = World::of_logins().await;
        world.play().await;
        world.nothing_is_left().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_in_shared_tables_take_turns_on_a_poolers_sessions_and_leave_nothing_in_them() {
    in_time(async {
        let (world, data, operator) = World::of_shared_tables().await;
        world.play().await;
        let across = data.across(&world.pooler.url(&operator), "to count", Scope::All).await.unwrap();
        let counted = async |tx: &cloacina::data::ReadTx| member::Entity::find().count(tx).await;
        let counts = across.each(async |tx| Ok::<_, sea_orm::DbErr>(counted(tx).await?)).await.unwrap();
        for ((tenant, counted), runner) in counts.into_iter().zip([&world.acme, &world.globex]) {
            let seen = everything(&runner.data().unwrap()).await.0.len();
            assert_eq!((tenant.as_str(), counted), (runner.place(), seen as u64));
        }
        drop(across);
        world.nothing_is_left().await;
    })
    .await;
}
