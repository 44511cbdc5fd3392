//! Reading across tenants, case 29: nothing without a grant that was committed before, and whoever reads is
//! in the audit.

use std::sync::Arc;

use cloacina::data::sea_orm::{self, ConnectionTrait, EntityTrait, PaginatorTrait, StreamTrait as _};
use cloacina::data::{Across, Data, DataError, DataErrorKind, Scope};
use cloacina::database::TenantCredentials;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::model::{country, data, member, new_member};
use crate::support::{Placement, Shared, assert_says, in_files_and_schemas};

const DENIED: &str = "42501";
const WRITES: &str = "25006";

/// Three tenants with members, of whom two are to be read, and a reader.
struct World {
    shared: Arc<Shared>,
    reader: TenantCredentials,
    data: Data,
    operator: Client,
    owner: Client,
}

impl World {
    async fn new() -> Self {
        let place = Placement::shared().await;
        for (tenant, members) in [("acme", 1), ("globex", 2), ("initech", 3)] {
            let runner = place.runner(tenant, &data(), vec![]).await;
            let fill = async |tx: &cloacina::data::TenantTx| {
                for number in 0..members {
                    let one = new_member(&format!("{number}"), &format!("{tenant} {number}"));
                    member::Entity::insert(one).exec(tx).await?;
                }
                Ok::<_, sea_orm::DbErr>(())
            };
            runner.data().unwrap().run_as(fill).await.unwrap();
        }
        let Placement::Shared(shared) = place else { unreachable!("it is shared") };
        let database = shared.admin_url.rsplit('/').next().unwrap();
        let reader =
            shared.admin.create_reader_login(&format!("reader_{database}"), String::new()).await.unwrap();
        let operator = connect(&shared.url).await;
        let owner = connect(&shared.admin_url).await;
        owner.batch_execute("SET ROLE cloacina_owner").await.unwrap();
        let data = data().reader_login(&reader.username, &reader.password);
        Self { shared, reader, data, operator, owner }
    }

    async fn across(&self, reason: &str, scope: Scope<'_>) -> Result<Across, DataError> {
        self.data.across(&self.shared.url, reason, scope).await
    }

    /// A grant of the operator's, for a plain session.
    async fn grant(&self, tenants: &[&str]) -> Uuid {
        let grant = "SELECT reading FROM cloacina.grant_reading($1, $2, 'a look', 60) LIMIT 1";
        self.operator.query_one(grant, &[&self.reader.username, &tenants]).await.unwrap().get(0)
    }

    async fn id(&self, tenant: &str) -> Uuid {
        let id = "SELECT tenant_id FROM cloacina.tenant WHERE name = $1";
        self.operator.query_one(id, &[&tenant]).await.unwrap().get(0)
    }

    /// What is in the audit about reading: tenant and words.
    async fn noted(&self) -> Vec<(String, String)> {
        let noted = "SELECT tenant.name, detail FROM cloacina.audit JOIN cloacina.tenant USING (tenant_id) \
                     WHERE action = 'read_across' ORDER BY audit.id";
        self.owner.query(noted, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// A session of the reader's.
    async fn attack(&self) -> Client {
        connect(&self.reader.connection_string).await
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn present(grant: impl std::fmt::Display, tenant: impl std::fmt::Display) -> String {
    format!("SET LOCAL cloacina.reading = '{grant}'; SET LOCAL cloacina.reading_of = '{tenant}'")
}

/// The members that a session sees in a transaction that begins so.
async fn sees(session: &Client, begin: &str) -> Result<i64, String> {
    let code = |error: tokio_postgres::Error| {
        error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
    };
    session.batch_execute("ROLLBACK").await.unwrap();
    session.batch_execute(begin).await.map_err(code)?;
    let row = session.query_one("SELECT count(*) FROM cloacina_shared.member", &[]).await.map_err(code)?;
    Ok(row.get(0))
}

const READ: &str = "BEGIN READ ONLY";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tenants_that_were_granted_are_read_one_after_the_other() {
    let world = World::new().await;
    let across = world.across("invoices of May", Scope::Only(&["globex", "acme"])).await.unwrap();
    assert_eq!(across.tenants().collect::<Vec<_>>(), ["acme", "globex"]);
    let reader = &world.reader.username;
    let expected = ["acme", "globex"].map(|tenant| (tenant.to_owned(), format!("{reader}: invoices of May")));
    assert_eq!(world.noted().await, expected, "noted before anything is read");

    let counted = across
        .each(async |tx| member::Entity::find().count(tx).await.map_err(DataError::from))
        .await
        .unwrap();
    assert_eq!(counted, [("acme".to_owned(), 1), ("globex".to_owned(), 2)]);
    let names = across
        .read("globex", async |tx| {
            assert_eq!(tx.tenant(), "globex");
            assert_eq!(country::Entity::find().count(tx).await?, 2);
            let all = sea_orm::Statement::from_string(
                ConnectionTrait::get_database_backend(tx),
                "SELECT * FROM member",
            );
            let streamed: Vec<_> = futures_util::StreamExt::collect(tx.stream_raw(all).await?).await;
            assert_eq!(streamed.len(), 2);
            member::Entity::find().all(tx).await
        })
        .await
        .unwrap();
    assert!(names.iter().all(|member| member.name.starts_with("globex")), "{names:?}");

    let error = across.read("initech", async |_| Ok::<_, DataError>(())).await.unwrap_err();
    assert_says(&error, DataErrorKind::Place, "tenant `initech`");
    let all = world.across("a census", Scope::All).await.unwrap();
    assert_eq!(all.tenants().count(), 3);
    assert_eq!(world.noted().await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_and_the_gate_is_in_the_way_as_everywhere() {
    let world = World::new().await;
    let across = world.across("a look", Scope::All).await.unwrap();
    let writes = across
        .read("acme", async |tx| member::Entity::insert(new_member("x", "x")).exec(tx).await.map(drop))
        .await
        .unwrap_err();
    assert!(
        writes.to_string().contains("read-only") || writes.to_string().contains("permission"),
        "{writes}"
    );
    for hostile in [
        "SELECT tenant_id FROM member",
        "SELECT * FROM cloacina_shared.member",
        "SET LOCAL cloacina.reading_of = 'x'",
    ] {
        let refused = across.read("acme", async |tx| tx.execute_unprepared(hostile).await.map(drop)).await;
        assert!(refused.unwrap_err().to_string().contains("the statement was not sent: `"), "{hostile}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_read_is_in_the_audit_even_if_it_ends_at_once() {
    let world = World::new().await;
    let across = world.across("before the crash", Scope::Only(&["acme"])).await.unwrap();
    let cut = across
        .read("acme", async |tx| {
            assert_eq!(member::Entity::find().count(tx).await?, 1);
            // The connection ends, and with it what is left of the reader.
            let end = format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'",
                world.reader.username
            );
            let superuser = connect(
                &cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(&world.shared.url),
            )
            .await;
            superuser.batch_execute(&end).await.unwrap();
            member::Entity::find().count(tx).await
        })
        .await;
    cut.unwrap_err();
    assert_eq!(
        world.noted().await,
        [("acme".to_owned(), format!("{}: before the crash", world.reader.username))]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_ends() {
    let world = World::new().await;
    let across = world.across("a look", Scope::All).await.unwrap();
    world.owner.batch_execute("UPDATE cloacina.reading SET expires_at = clock_timestamp()").await.unwrap();
    let error = across
        .read("acme", async |tx| member::Entity::find().count(tx).await.map_err(DataError::from))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), DataErrorKind::Place, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_nothing_but_what_a_grant_is_about() {
    let world = World::new().await;
    let (acme, globex) = (world.id("acme").await, world.id("globex").await);
    let session = world.attack().await;
    let grant = world.grant(&["acme"]).await;
    let denied = Err(DENIED.to_owned());

    assert_eq!(sees(&session, READ).await, denied, "no grant");
    let read = |grant: Uuid, tenant: Uuid| format!("{READ}; {}", present(grant, tenant));
    assert_eq!(sees(&session, &read(grant, acme)).await, Ok(1));
    assert_eq!(sees(&session, &read(grant, globex)).await, denied, "another tenant");
    assert_eq!(sees(&session, &read(Uuid::now_v7(), acme)).await, denied, "another grant");
    assert_eq!(sees(&session, &read(Uuid::nil(), Uuid::nil())).await, denied, "nobody's");
    for (reading, of) in [("", ""), ("", "x"), ("*", "*"), ("NULL", "NULL")] {
        let made_up = sees(&session, &format!("{READ}; {}", present(reading, of))).await;
        assert!(made_up.as_ref().is_err_and(|code| code == DENIED || code == "22P02"), "{made_up:?}");
    }
    assert_eq!(
        sees(&session, &format!("{READ}; SET LOCAL cloacina.reading_of = '{acme}'")).await,
        denied,
        "a tenant without a grant"
    );
    assert_eq!(sees(&session, &format!("BEGIN; {}", present(grant, acme))).await, denied, "it could write");

    // After the transaction nothing is left of it.
    session.batch_execute(&format!("ROLLBACK; {}; {}; COMMIT", READ, present(grant, acme))).await.unwrap();
    assert_eq!(sees(&session, READ).await, denied, "after a commit");

    // The grant names the login.
    let other = format!("other_{}", world.reader.username);
    let other = world.shared.admin.create_reader_login(&other, String::new()).await.unwrap();
    let other = connect(&other.connection_string).await;
    assert_eq!(sees(&other, &read(grant, acme)).await, denied, "another reader's");
    let app = connect(&world.shared.app.connection_string).await;
    assert_eq!(sees(&app, &read(grant, acme)).await, denied, "the application's login");
    let operator = connect(&world.shared.url).await;
    assert_eq!(sees(&operator, &read(grant, acme)).await, denied, "the operator's login");

    let ended = world.grant(&["acme"]).await;
    let end =
        "UPDATE cloacina.reading SET expires_at = clock_timestamp() - interval '1 second' WHERE id = $1";
    world.owner.execute(end, &[&ended]).await.unwrap();
    assert_eq!(sees(&session, &read(ended, acme)).await, denied, "one that has ended");

    // One that ends while the transaction goes on.
    let ending = world.grant(&["acme"]).await;
    assert_eq!(sees(&session, &read(ending, acme)).await, Ok(1));
    world.owner.execute("DELETE FROM cloacina.reading WHERE id = $1", &[&ending]).await.unwrap();
    let gone = session.query("SELECT FROM cloacina_shared.member", &[]).await.unwrap_err();
    assert_eq!(gone.code().unwrap().code(), DENIED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_holds_from_its_commit_on() {
    let world = World::new().await;
    let acme = world.id("acme").await;
    let denied = Err(DENIED.to_owned());
    let session = world.attack().await;

    // Not committed yet, and then taken back.
    let granting = connect(&world.shared.url).await;
    let grant = format!(
        "SELECT reading FROM cloacina.grant_reading('{}', ARRAY['acme'], 'a look', 60)",
        world.reader.username
    );
    granting.batch_execute("BEGIN").await.unwrap();
    let open: Uuid = granting.query_one(&grant, &[]).await.unwrap().get(0);
    assert_eq!(sees(&session, &format!("{READ}; {}", present(open, acme))).await, denied);
    granting.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(sees(&session, &format!("{READ}; {}", present(open, acme))).await, denied);
    assert_eq!(world.noted().await, []);

    // Of the same transaction: by a login that is, against all rules, both operator and reader.
    let superuser =
        connect(&cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(&world.shared.url))
            .await;
    superuser.batch_execute(&format!("GRANT cloacina_engine TO {}", world.reader.username)).await.unwrap();
    for (before, after) in [("", ""), ("SAVEPOINT one;", "RELEASE SAVEPOINT one;")] {
        session.batch_execute(&format!("ROLLBACK; BEGIN; {before}")).await.unwrap();
        let own: Uuid = session.query_one(&grant, &[]).await.unwrap().get(0);
        session
            .batch_execute(&format!("{after} SET TRANSACTION READ ONLY; {}", present(own, acme)))
            .await
            .unwrap();
        let refused = session.query("SELECT FROM cloacina_shared.member", &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), DENIED);
    }
    session.batch_execute("ROLLBACK").await.unwrap();
    // And such a login is not used.
    let error = world.across("a look", Scope::All).await.unwrap_err();
    assert_says(&error, DataErrorKind::Place, "is a member of cloacina_engine");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_can_do_nothing_else() {
    let world = World::new().await;
    let (acme, session) = (world.id("acme").await, world.attack().await);
    let grant = world.grant(&["acme"]).await;
    let statements = [
        "INSERT INTO member (email, name) VALUES ('x', 'x')",
        "UPDATE member SET name = 'x'",
        "DELETE FROM member",
        "TRUNCATE member",
        "SELECT * FROM member FOR UPDATE",
        "SELECT * FROM member FOR KEY SHARE",
        "LOCK TABLE member IN ACCESS EXCLUSIVE MODE",
        "INSERT INTO country (code, name) VALUES ('xx', 'x')",
        "SELECT * FROM workflow_executions",
        "SELECT * FROM task_executions",
        "SELECT * FROM ready_tasks",
        "SELECT * FROM task_attempts",
        "SELECT * FROM cloacina.reading",
        "SELECT * FROM cloacina.audit",
        "SELECT * FROM cloacina.tenant",
        "SELECT * FROM cloacina.data_key",
        "SELECT cloacina.grant_reading(session_user::text, NULL, 'myself', 60)",
        "SELECT cloacina.entered()",
        "SELECT cloacina.enter(gen_random_uuid(), 1, 1, 1, '')",
        "SELECT cloacina.fence(gen_random_uuid())",
        "INSERT INTO cloacina.reading (reader, tenants, reason, expires_at) VALUES (session_user, ARRAY[gen_random_uuid()], 'x', now())",
        "UPDATE cloacina.reading SET expires_at = 'infinity'",
        "DELETE FROM cloacina.audit",
        "CREATE TABLE cloacina_shared.mine ()",
        "CREATE TABLE public.mine ()",
        "CREATE TEMP TABLE member (id integer)",
        "SET ROLE cloacina_owner",
        "SET ROLE cloacina_engine",
        "SET ROLE cloacina_app",
        "SET LOCAL row_security = off; SELECT * FROM member",
        "COPY member TO PROGRAM 'id'",
        "SELECT pg_read_file('/etc/passwd')",
    ];
    for statement in statements {
        for mode in [READ, "BEGIN"] {
            let begin = format!(
                "ROLLBACK; {mode}; SET LOCAL search_path = cloacina_shared, pg_temp; {}",
                present(grant, acme)
            );
            session.batch_execute(&begin).await.unwrap();
            let error = session.batch_execute(statement).await.expect_err(statement);
            let code = error.code().map_or("none", |code| code.code()).to_owned();
            assert!(code == DENIED || mode == READ && code == WRITES, "{statement} ({mode}): {error:?}");
        }
    }
    // A transaction does not become one that writes after it has read.
    session.batch_execute(&format!("ROLLBACK; {READ}; {}", present(grant, acme))).await.unwrap();
    session.query("SELECT FROM cloacina_shared.member", &[]).await.unwrap();
    session.batch_execute("SET TRANSACTION READ WRITE").await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_granted_is_said() {
    let world = World::new().await;
    for (reason, scope, kind, words) in [
        ("", Scope::All, DataErrorKind::Database, "needs a reason"),
        (" \t", Scope::All, DataErrorKind::Database, "needs a reason"),
        ("a look", Scope::Only(&["nobody"]), DataErrorKind::Place, "nobody"),
        ("a look", Scope::Only(&[]), DataErrorKind::Place, "no tenant to be read"),
    ] {
        assert_says(&world.across(reason, scope).await.unwrap_err(), kind, words);
    }
    let error = data().across(&world.shared.url, "a look", Scope::All).await.unwrap_err();
    assert_says(&error, DataErrorKind::Configuration, "create_reader_login");
    // The application's login is no reader, and a reader no operator.
    let app = &world.shared.app;
    let error = data()
        .reader_login(&app.username, &app.password)
        .across(&world.shared.url, "a look", Scope::All)
        .await;
    assert_says(&error.unwrap_err(), DataErrorKind::Database, "is no reader");
    let error = world.data.across(&world.reader.connection_string, "a look", Scope::All).await;
    assert_says(&error.unwrap_err(), DataErrorKind::Place, "permission denied");
    assert_eq!(world.noted().await, []);
    let long = "SELECT cloacina.grant_reading($1, NULL, 'a look', 3601)";
    world.operator.execute(long, &[&world.reader.username]).await.unwrap_err();
}

in_files_and_schemas! {
    async fn elsewhere_there_is_nothing_to_be_granted(place: Placement) {
        drop(place.two(&data()).await);
        let url = place.told("acme", &data()).await.remove(0);
        let error = data().reader_login("reader", "secret").across(&url, "a look", Scope::All).await.unwrap_err();
        let expected = if url.starts_with("sqlite") { DataErrorKind::Configuration } else { DataErrorKind::Database };
        assert_says(&error, expected, if url.starts_with("sqlite") { "open each tenant" } else { "no reader" });
    }
}
