//! What the database alone refuses where tenants share tables: plain SQL as the application's login, without
//! the gate.

use cloacina::data::sea_orm;
use cloacina::data::sea_orm::EntityTrait;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use crate::model::{data, member, new_member};
use crate::support::{Placement, Shared};

/// Two tenants with a member each, a session of the application's login, and what an attacker may have
/// learned.
struct Attack {
    shared: std::sync::Arc<Shared>,
    session: Client,
    acme: Uuid,
    globex: Uuid,
}

/// `SQLSTATE` of what is refused.
const DENIED: &str = "42501";

impl Attack {
    async fn new() -> Self {
        let place = Placement::shared().await;
        let two = place.two(&data()).await;
        for (db, name) in [(&two.acme, "anna"), (&two.globex, "gaia")] {
            db.run_as(async |tx| member::Entity::insert(new_member(name, name)).exec(tx).await.map(drop))
                .await
                .unwrap_or_else(|error: sea_orm::DbErr| panic!("{error}"));
        }
        let Placement::Shared(shared) = place else { unreachable!("it is shared") };
        let session = connect(&shared.app.connection_string).await;
        let operator = connect(&shared.url).await;
        let id = async |name: &str| -> Uuid {
            let row =
                operator.query_one("SELECT tenant_id FROM cloacina.tenant WHERE name = $1", &[&name]).await;
            row.unwrap().get(0)
        };
        Self { acme: id("acme").await, globex: id("globex").await, shared, session }
    }

    /// A token as the operator would sign it, for a session without a secret.
    async fn token(&self, tenant: Uuid, login: &str, expires: i64) -> Vec<u8> {
        self.token_of_session(tenant, login, expires, "").await
    }

    async fn token_of_session(&self, tenant: Uuid, login: &str, expires: i64, secret: &str) -> Vec<u8> {
        let owner = connect(&self.shared.admin_url).await;
        owner.batch_execute("SET ROLE cloacina_owner").await.unwrap();
        let length = login.chars().count();
        let message = format!("enter {tenant} {expires} {length} {login} {secret}");
        let sign =
            "SELECT sha256(outer_pad || sha256(inner_pad || convert_to($1, 'UTF8'))) FROM cloacina.data_key";
        owner.query_one(sign, &[&message]).await.unwrap().get(0)
    }

    /// Begins a transaction and enters a tenant.
    async fn enter(&self, tenant: Uuid) {
        let expires = i64::from(u32::MAX);
        let token = self.token(tenant, &self.shared.app.username, expires).await;
        self.begin().await;
        self.try_enter(tenant, Some(1), expires, Some(token)).await.unwrap();
    }

    async fn begin(&self) {
        self.session
            .batch_execute("ROLLBACK; BEGIN; SET LOCAL search_path = cloacina_shared, pg_temp")
            .await
            .unwrap();
    }

    async fn try_enter(
        &self,
        tenant: Uuid,
        key: Option<i32>,
        expires: i64,
        token: Option<Vec<u8>>,
    ) -> Result<(), tokio_postgres::Error> {
        let enter = "SELECT cloacina.enter($1, 1, $2, $3, $4)";
        self.session.execute(enter, &[&tenant, &key, &expires, &token]).await.map(drop)
    }

    async fn names(&self) -> Result<Vec<String>, tokio_postgres::Error> {
        let rows = self.session.query("SELECT name FROM member ORDER BY name", &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// What comes of a statement that would succeed without row security.
    async fn code(&self, statement: &str) -> String {
        match self.session.batch_execute(statement).await {
            Ok(()) => "done".to_owned(),
            Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
        }
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn code_of(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", |code| code.code())
}

#[tokio::test]
async fn without_a_tenant_nothing_is_seen_and_who_entered_sees_its_own() {
    let attack = Attack::new().await;
    attack.begin().await;
    assert_eq!(code_of(&attack.names().await.unwrap_err()), DENIED);
    attack.enter(attack.acme).await;
    assert_eq!(attack.names().await.unwrap(), ["anna"]);
    attack.enter(attack.globex).await;
    assert_eq!(attack.names().await.unwrap(), ["gaia"]);
    // Outside of a transaction a setting is over before the next statement.
    let set = format!("SET LOCAL cloacina.tenant = '{}'", attack.acme);
    attack.session.batch_execute("ROLLBACK").await.unwrap();
    attack.session.batch_execute(&set).await.unwrap();
    let outside = attack.session.query("SELECT name FROM cloacina_shared.member", &[]).await.unwrap_err();
    assert_eq!(code_of(&outside), DENIED, "after {set}");
    for end in ["COMMIT", "ROLLBACK"] {
        attack.enter(attack.acme).await;
        attack.session.batch_execute(end).await.unwrap();
        let outside = attack.session.query("SELECT name FROM cloacina_shared.member", &[]).await.unwrap_err();
        assert_eq!(code_of(&outside), DENIED, "after {end}");
    }
}

#[tokio::test]
async fn a_tenant_cannot_be_entered_without_a_token_for_it() {
    let attack = Attack::new().await;
    let (acme, globex, app) = (attack.acme, attack.globex, attack.shared.app.username.clone());
    let late = i64::from(u32::MAX);
    let good = attack.token(acme, &app, late).await;
    let tries = [
        ("another tenant's", globex, Some(1), late, Some(good.clone())),
        ("another login's", acme, Some(1), late, Some(attack.token(acme, "somebody", late).await)),
        ("an old one", acme, Some(1), 1, Some(attack.token(acme, &app, 1).await)),
        ("one with another time", acme, Some(1), late + 1, Some(good.clone())),
        ("none", acme, Some(1), late, None),
        ("none, of a key that is not there", acme, Some(99), late, None),
        ("none, of no key", acme, None, late, None),
        ("an empty one", acme, Some(1), late, Some(Vec::new())),
        ("one of a key that is not there", acme, Some(99), late, Some(good)),
    ];
    for (what, tenant, key, expires, token) in tries {
        attack.begin().await;
        let error = attack.try_enter(tenant, key, expires, token).await.expect_err(what);
        assert_eq!(code_of(&error), DENIED, "{what}");
    }
}

#[tokio::test]
async fn a_token_of_a_session_is_good_in_the_message_that_begins_a_transaction_and_nowhere_else() {
    let attack = Attack::new().await;
    let (acme, late) = (attack.acme, i64::from(u32::MAX));
    let token = attack.token_of_session(acme, &attack.shared.app.username, late, "secret").await;
    let token = token.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let enter = format!("SELECT cloacina.enter('{acme}', 1, 1, {late}, decode('{token}', 'hex'))");
    let begin = "ROLLBACK; BEGIN; SET LOCAL search_path = cloacina_shared, pg_temp";
    let whole = format!("{begin}; {enter}");
    assert_eq!(attack.code(&whole).await, DENIED, "a session without the secret");
    attack.session.batch_execute("ROLLBACK; SET cloacina.session = 'guessed'").await.unwrap();
    assert_eq!(attack.code(&whole).await, DENIED, "a session with another secret");
    attack.session.batch_execute("ROLLBACK; SET cloacina.session = 'secret'").await.unwrap();
    attack.session.batch_execute(begin).await.unwrap();
    assert_eq!(attack.code(&enter).await, DENIED, "a transaction that has begun before");
    let in_a_block = format!("DO $$ BEGIN ROLLBACK; PERFORM {}; END $$", enter.trim_start_matches("SELECT "));
    attack.session.batch_execute(begin).await.unwrap();
    assert_eq!(attack.code(&in_a_block).await, "2D000", "a block in a transaction");
    assert_eq!(attack.code(&whole).await, "done");
    assert_eq!(attack.names().await.unwrap(), ["anna"]);
}

#[tokio::test]
async fn what_another_session_of_the_login_shows_opens_nothing() {
    let attack = Attack::new().await;
    let place = Placement::Shared(std::sync::Arc::clone(&attack.shared));
    let two = place.two(&data()).await;
    let texts = two
        .acme
        .run_as(async |_| {
            let texts = "SELECT query FROM pg_stat_activity WHERE application_name = 'cloacina data' AND usename = session_user \
                         AND state = 'idle in transaction'";
            let rows = attack.session.query(texts, &[]).await.unwrap();
            Ok::<_, sea_orm::DbErr>(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>())
        })
        .await
        .unwrap();
    let [text] = &texts[..] else { panic!("{texts:?}") };
    assert!(text.contains("cloacina.enter("), "{text}");
    assert!(text.len() < 1_000, "none of it is cut: {}", text.len());
    assert_eq!(attack.code(text).await, DENIED);
}

#[tokio::test]
async fn settings_that_are_made_up_or_kept_say_nothing() {
    let attack = Attack::new().await;
    attack.enter(attack.acme).await;
    let kept = attack
        .session
        .query_one("SELECT current_setting('cloacina.key'), current_setting('cloacina.proof')", &[])
        .await
        .unwrap();
    let (key, proof): (String, String) = (kept.get(0), kept.get(1));
    let set = |tenant: Uuid, key: &str, proof: &str| {
        format!(
            "SELECT set_config('cloacina.tenant', '{tenant}', true), set_config('cloacina.key', '{key}', true), \
             set_config('cloacina.proof', '{proof}', true)"
        )
    };
    // In the transaction in which it was made, for another tenant.
    attack.session.batch_execute(&set(attack.globex, &key, &proof)).await.unwrap();
    assert_eq!(code_of(&attack.names().await.unwrap_err()), DENIED);
    let made_up = [
        set(attack.acme, &key, &proof),
        set(attack.globex, &key, &proof),
        set(attack.globex, &key, ""),
        set(attack.globex, "99", ""),
        set(attack.globex, "", ""),
        format!("SET LOCAL cloacina.tenant = '{}'", attack.globex),
        format!("SET LOCAL cloacina.tenant = '{}'; SET LOCAL cloacina.key = '99'", attack.globex),
    ];
    for settings in made_up {
        attack.begin().await;
        attack.session.batch_execute(&settings).await.unwrap();
        let error = attack.names().await.expect_err(&settings);
        assert!(matches!(code_of(&error), DENIED | "22P02"), "{settings}: {error}");
    }
    // Another session has another server process.
    let other = connect(&attack.shared.app.connection_string).await;
    other.batch_execute(&format!("BEGIN; {}", set(attack.acme, &key, &proof))).await.unwrap();
    let error = other.query("SELECT name FROM cloacina_shared.member", &[]).await.unwrap_err();
    assert_eq!(code_of(&error), DENIED);
}

#[tokio::test]
async fn who_entered_cannot_reach_beyond_its_rows() {
    let attack = Attack::new().await;
    let (acme, globex) = (attack.acme, attack.globex);
    let refused = [
        format!("INSERT INTO member (tenant_id, email, name) VALUES ('{globex}', 'x', 'x')"),
        format!("INSERT INTO member (tenant_id, email, name) VALUES ('{acme}', 'x', 'x')"),
        format!("UPDATE member SET tenant_id = '{globex}'"),
        format!(
            "INSERT INTO member (email, name) VALUES ('anna', 'x') ON CONFLICT (tenant_id, email) DO UPDATE SET tenant_id = '{globex}'"
        ),
        "TRUNCATE member".to_owned(),
        "ALTER TABLE member DISABLE ROW LEVEL SECURITY".to_owned(),
        "DROP POLICY tenant ON member".to_owned(),
        "CREATE TABLE mine (id integer)".to_owned(),
        "CREATE TEMP TABLE member (id integer)".to_owned(),
        "CREATE FUNCTION lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'".to_owned(),
        "CREATE TRIGGER t BEFORE INSERT ON member EXECUTE FUNCTION suppress_redundant_updates_trigger()"
            .to_owned(),
        "SET ROLE cloacina_owner".to_owned(),
        "SET ROLE cloacina_engine".to_owned(),
        "SET LOCAL row_security = off; SELECT * FROM member".to_owned(),
        "INSERT INTO country (code, name) VALUES ('xx', 'Nowhere')".to_owned(),
        "DELETE FROM country".to_owned(),
        "SELECT * FROM cloacina.data_key".to_owned(),
        "SELECT * FROM cloacina.tenant".to_owned(),
        "SELECT * FROM cloacina.runner".to_owned(),
        "UPDATE cloacina.doorbell SET due_at = NULL".to_owned(),
        "SELECT * FROM cloacina.retention".to_owned(),
        "SELECT cloacina.fence(gen_random_uuid())".to_owned(),
        "INSERT INTO workflow_executions (tenant_id) VALUES (gen_random_uuid())".to_owned(),
        "DELETE FROM workflow_executions".to_owned(),
        format!(
            "INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at) \
                 VALUES ('{globex}', gen_random_uuid(), 'w', 1, 'pending', 5, '{{}}', now())"
        ),
        format!(
            "INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, started_at, finished_at) \
                 VALUES ('{acme}', gen_random_uuid(), 'w', 1, 'failed', 5, '{{}}', now(), now(), now())"
        ),
        format!(
            "INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, due_at) \
                 VALUES ('{globex}', gen_random_uuid(), 0, 't', 'ready', 0, now())"
        ),
        format!(
            "INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint) \
                 VALUES ('{globex}', 1, now(), gen_random_uuid(), 0, 'w', 1)"
        ),
        "COPY member TO PROGRAM 'id'".to_owned(),
        "SELECT pg_read_file('/etc/passwd')".to_owned(),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user".to_owned(),
        "CREATE EXTENSION dblink".to_owned(),
    ];
    for statement in refused {
        attack.enter(acme).await;
        let code = attack.code(&statement).await;
        assert!(matches!(&*code, DENIED | "42P10" | "0LP01" | "42883"), "{statement}: {code}");
    }
    for statement in [
        format!("UPDATE member SET name = 'x' WHERE tenant_id = '{globex}'"),
        "UPDATE member SET name = 'x' WHERE name = 'gaia'".to_owned(),
        "DELETE FROM member WHERE name = 'gaia'".to_owned(),
        format!("UPDATE task_executions SET state = 'failed' WHERE tenant_id = '{globex}'"),
    ] {
        attack.enter(acme).await;
        assert_eq!(attack.session.execute(&statement, &[]).await.unwrap(), 0, "{statement}");
    }
    attack.enter(globex).await;
    assert_eq!(attack.names().await.unwrap(), ["gaia"]);
}

#[tokio::test]
async fn a_tenant_that_is_suspended_or_gone_cannot_be_entered() {
    let attack = Attack::new().await;
    let owner = connect(&attack.shared.admin_url).await;
    owner.batch_execute("SET ROLE cloacina_owner").await.unwrap();
    let late = i64::from(u32::MAX);
    let token = attack.token(attack.acme, &attack.shared.app.username, late).await;
    for state in ["suspended", "moving"] {
        let set = format!("UPDATE cloacina.tenant SET state = '{state}' WHERE tenant_id = '{}'", attack.acme);
        owner.batch_execute(&set).await.unwrap();
        attack.begin().await;
        let error = attack.try_enter(attack.acme, Some(1), late, Some(token.clone())).await.unwrap_err();
        assert_eq!(code_of(&error), "TN001", "{state}");
    }
    owner.batch_execute("UPDATE cloacina.tenant SET state = 'active'").await.unwrap();
    attack.shared.admin.remove_shared_tenant("acme", std::time::Duration::ZERO).await.unwrap();
    attack.begin().await;
    let error = attack.try_enter(attack.acme, Some(1), late, Some(token)).await.unwrap_err();
    assert_eq!(code_of(&error), "TN001");
    let left: i64 = connect(&cluster_url(&attack.shared.admin_url))
        .await
        .query_one("SELECT count(*) FROM cloacina_shared.member WHERE tenant_id = $1", &[&attack.acme])
        .await
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
    attack.enter(attack.globex).await;
    assert_eq!(attack.names().await.unwrap(), ["gaia"]);
}

fn cluster_url(url: &str) -> String {
    cloacina_testing::cluster::Cluster::shared().unwrap().superuser_url_of(url)
}
