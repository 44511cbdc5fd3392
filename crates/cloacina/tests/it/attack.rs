//! What a tenant can do with its own login over a plain SQL connection: nothing that is anybody else's
//! business.
//!
//! Each attempt has one of three outcomes. It is *refused*; it finds *nothing* and changes nothing; or it is
//! *by design*, and then it is told in `docs/guides/isolation.md` under its name, with what to do about it.

use std::sync::atomic::{AtomicBool, Ordering};

use cloacina::Context;
use cloacina::database::TenantCredentials;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::admin::{Administered, connect, runner, works};
use crate::support::in_time;

enum Outcome {
    /// The server answers with an error of one of these SQLSTATEs.
    Refused(&'static [&'static str]),
    /// It succeeds, and finds and changes nothing.
    Nothing,
    /// It succeeds, and the guide says so under this heading.
    ByDesign(&'static str),
}

use Outcome::{ByDesign, Nothing, Refused};

/// Insufficient privilege.
const DENIED: Outcome = Refused(&["42501"]);
/// The name is not even found.
const UNKNOWN: Outcome = Refused(&["42501", "42P01", "42704", "42883", "3F000"]);

const GUIDE: &str = include_str!("../../../../docs/guides/isolation.md");

/// `{me}` and `{them}` are the logins, `{my_group}` and `{their_group}` their groups, `acme` is the
/// attacker's schema and `globex` the other's, `{hub}` the operator's runner and `{hub_pid}` one of its
/// server processes.
const ATTEMPTS: &[(&str, &str, Outcome)] = &[
    // Another tenant's rows.
    ("read executions", "SELECT * FROM globex.workflow_executions", DENIED),
    ("read tasks", "SELECT * FROM globex.task_executions", DENIED),
    ("read ready tasks", "SELECT * FROM globex.ready_tasks", DENIED),
    ("read attempts", "SELECT * FROM globex.task_attempts", DENIED),
    ("count", "SELECT count(*) FROM globex.workflow_executions", DENIED),
    ("insert", "INSERT INTO globex.ready_tasks SELECT * FROM acme.ready_tasks", DENIED),
    ("update", "UPDATE globex.workflow_executions SET input = '{}'", DENIED),
    ("delete", "DELETE FROM globex.task_executions", DENIED),
    ("truncate", "TRUNCATE globex.workflow_executions", DENIED),
    ("copy out", "COPY globex.workflow_executions TO STDOUT", DENIED),
    ("lock rows", "SELECT id FROM globex.workflow_executions FOR UPDATE", DENIED),
    ("lock a table", "BEGIN; LOCK TABLE globex.workflow_executions IN ACCESS SHARE MODE", DENIED),
    (
        "a cursor that outlives its transaction",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM globex.workflow_executions",
        DENIED,
    ),
    ("explain", "EXPLAIN SELECT * FROM globex.workflow_executions", DENIED),
    ("as XML", "SELECT query_to_xml('SELECT * FROM globex.workflow_executions', true, false, '')", DENIED),
    ("a table as XML", "SELECT table_to_xml('globex.workflow_executions', true, false, '')", DENIED),
    ("the search path", "SET search_path = globex; SELECT * FROM workflow_executions", UNKNOWN),
    ("in a block of code", "DO $$ BEGIN PERFORM * FROM globex.workflow_executions; END $$", DENIED),
    ("a prepared statement", "PREPARE p AS SELECT * FROM globex.workflow_executions", DENIED),
    ("without row security", "SET row_security = off; SELECT * FROM globex.workflow_executions", DENIED),
    // The engine's own tables, and what runs under the rights of their owner.
    ("the registry", "SELECT * FROM cloacina.tenant", DENIED),
    ("the logins", "SELECT * FROM cloacina.login", DENIED),
    ("the audit", "SELECT * FROM cloacina.audit", DENIED),
    ("the schedules of all", "SELECT * FROM cloacina.schedule_template", DENIED),
    ("the keys", "SELECT * FROM cloacina.api_key", DENIED),
    ("the workflows", "SELECT * FROM cloacina.workflow", DENIED),
    ("the runners", "SELECT * FROM cloacina.runner", DENIED),
    ("the bells", "SELECT * FROM cloacina.doorbell", DENIED),
    ("the notices", "SELECT * FROM cloacina.notice", DENIED),
    ("the runners' places", "SELECT * FROM cloacina.runner_place", DENIED),
    ("the migrations", "SELECT * FROM cloacina.migration", DENIED),
    ("lock the bells", "BEGIN; LOCK TABLE cloacina.doorbell", DENIED),
    ("ring everybody", "UPDATE cloacina.doorbell SET due_at = now()", DENIED),
    ("suspend another", "UPDATE cloacina.tenant SET state = 'suspended'", DENIED),
    ("raise one's limits", "UPDATE cloacina.tenant SET max_concurrent_tasks = NULL", DENIED),
    (
        "take another's login",
        "INSERT INTO cloacina.login SELECT oid, gen_random_uuid(), 'x' FROM pg_roles",
        DENIED,
    ),
    ("hide in the audit", "DELETE FROM cloacina.audit", DENIED),
    ("kill the operator's runner", "SELECT cloacina.condemn('{hub}', NULL)", DENIED),
    ("write as the operator's runner", "SELECT cloacina.fence('{hub}')", DENIED),
    (
        "write as an operator's runner that does not work here, by one's own fence",
        "SELECT cloacina.my_fence('00000000-0000-0000-0000-000000000001')",
        Refused(&["CL001"]),
    ),
    (
        "learn from the fence of the operator's runner",
        "SELECT FROM cloacina.my_fence('{hub}') AS done WHERE done::text <> ''",
        Nothing,
    ),
    (
        "condemn the operator's runner",
        "SELECT state FROM cloacina.my_runner_condemn('{hub}', NULL, NULL) AS state WHERE state <> 'live'",
        Nothing,
    ),
    (
        "remove the operator's runner",
        "SELECT FROM cloacina.my_runner_remove('{hub}') AS done WHERE done::text <> ''",
        Nothing,
    ),
    (
        "unregister the operator's runner",
        "SELECT FROM cloacina.my_runner_place_delete('{hub}') AS done WHERE done::text <> ''",
        Nothing,
    ),
    (
        "beat for the operator's runner",
        "SELECT * FROM cloacina.my_runner_heartbeat('{hub}', '{}', '{}', NULL)",
        Nothing,
    ),
    (
        "where the operator's runner runs",
        "SELECT host FROM cloacina.my_runners() WHERE id = '{hub}' AND (host IS NOT NULL OR pid IS NOT NULL OR host_name IS NOT NULL OR workflows <> '{}')",
        Nothing,
    ),
    ("the internal look-up of a tenant", "SELECT cloacina.my_tenant()", DENIED),
    ("who else there is", "SELECT * FROM cloacina.me() WHERE schema_name <> 'acme'", Nothing),
    (
        "bells of others",
        "SELECT * FROM cloacina.my_bells(NULL) WHERE tenant_id <> (SELECT tenant_id FROM cloacina.me())",
        Nothing,
    ),
    (
        "a runner that announces without end",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, array_fill('x'::text, ARRAY[1001]), array_fill(1::bigint, ARRAY[1001]), NULL)",
        Refused(&["54000"]),
    ),
    (
        "a runner for a day and more",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 86400001, NULL, NULL, NULL, '{}', '{}', NULL)",
        Refused(&["22023"]),
    ),
    (
        "runners without end",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, '{}', '{}', NULL) FROM generate_series(1, 65)",
        Refused(&["54000"]),
    ),
    (
        "a runner without a list",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, NULL, NULL, NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that announces nothing at all",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, ARRAY[NULL]::text[], ARRAY[1]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that announces no version",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, ARRAY['x'], ARRAY[NULL]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that announces a table",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, ARRAY[['x'], ['y']], ARRAY[1, 2]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that announces a table of versions",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, ARRAY['x', 'y'], ARRAY[[1], [2]]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that announces more names than versions",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, ARRAY['x', 'y'], ARRAY[1]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner without a lease",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), NULL, NULL, NULL, NULL, '{}', '{}', NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner with a lease that was over before",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), -9223372036854775808, NULL, NULL, NULL, '{}', '{}', NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner without an id",
        "SELECT cloacina.my_runner_register(NULL, 1000, NULL, NULL, NULL, '{}', '{}', NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner in half a process",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, 'x', NULL, NULL, '{}', '{}', NULL)",
        Refused(&["22023"]),
    ),
    (
        "a runner that beats for ever",
        "SELECT cloacina.my_runner_register(gen_random_uuid(), 1000, NULL, NULL, NULL, '{}', '{}', 'infinity')",
        Refused(&["22023"]),
    ),
    (
        "a heartbeat that announces nothing at all",
        "SELECT * FROM cloacina.my_runner_heartbeat(gen_random_uuid(), ARRAY[NULL]::text[], ARRAY[1]::bigint[], NULL)",
        Refused(&["22023"]),
    ),
    (
        "a heartbeat without a list",
        "SELECT * FROM cloacina.my_runner_heartbeat(gen_random_uuid(), NULL, NULL, NULL)",
        Refused(&["22023"]),
    ),
    (
        "a notice of another time",
        "SELECT cloacina.my_notice(ARRAY[gen_random_uuid()], '1970-01-01')",
        Refused(&["42883"]),
    ),
    ("take a quota", "SELECT cloacina.my_quota(gen_random_uuid(), 'notice', 1, 1, '1 second')", DENIED),
    ("give oneself a quota", "UPDATE cloacina.quota SET used = 0", DENIED),
    // Something of one's own where others work.
    ("a temporary table", "CREATE TEMP TABLE workflow_executions (id uuid)", DENIED),
    (
        "a temporary function",
        "CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        DENIED,
    ),
    (
        "an overload",
        "CREATE FUNCTION acme.lower(varchar) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        DENIED,
    ),
    ("a table", "CREATE TABLE acme.cloacina_migration (id uuid)", DENIED),
    ("a view", "CREATE VIEW acme.v AS SELECT 1", DENIED),
    ("a materialized view", "CREATE MATERIALIZED VIEW acme.v AS SELECT 1", DENIED),
    ("a sequence", "CREATE SEQUENCE acme.s", DENIED),
    ("an operator", "CREATE OPERATOR acme.= (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq)", DENIED),
    (
        "an operator class",
        "CREATE OPERATOR CLASS acme.c FOR TYPE text USING btree AS FUNCTION 1 bttextcmp(text, text)",
        DENIED,
    ),
    ("a cast", "CREATE CAST (uuid AS json) WITH INOUT AS IMPLICIT", Refused(&["42501", "42P17"])),
    (
        "a trigger",
        "CREATE TRIGGER t BEFORE INSERT ON acme.ready_tasks FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        DENIED,
    ),
    ("a rule", "CREATE RULE r AS ON INSERT TO acme.ready_tasks DO INSTEAD NOTHING", DENIED),
    ("a policy", "CREATE POLICY p ON acme.ready_tasks USING (true)", DENIED),
    ("row security", "ALTER TABLE acme.ready_tasks ENABLE ROW LEVEL SECURITY", DENIED),
    ("a default", "ALTER TABLE acme.ready_tasks ALTER COLUMN workflow SET DEFAULT 'x'", DENIED),
    ("an index over a function", "CREATE INDEX ON acme.ready_tasks (lower(workflow))", DENIED),
    ("a constraint", "ALTER TABLE acme.ready_tasks ADD CHECK (workflow <> 'w')", DENIED),
    ("statistics", "CREATE STATISTICS acme.s ON workflow, fingerprint FROM acme.ready_tasks", DENIED),
    ("a type", "CREATE TYPE acme.t AS ENUM ('a')", DENIED),
    ("a domain", "CREATE DOMAIN acme.d AS text", DENIED),
    ("an aggregate", "CREATE AGGREGATE acme.min(text) (SFUNC = text_smaller, STYPE = text)", DENIED),
    ("a collation", "CREATE COLLATION acme.c FROM \"C\"", DENIED),
    ("a conversion", "CREATE CONVERSION acme.c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8", DENIED),
    (
        "a text search configuration",
        "CREATE TEXT SEARCH CONFIGURATION acme.c (COPY = pg_catalog.simple)",
        DENIED,
    ),
    ("a schema", "CREATE SCHEMA cloacina2", DENIED),
    ("a function in public", "CREATE FUNCTION public.now() RETURNS int LANGUAGE sql AS 'SELECT 1'", DENIED),
    ("a table in public", "CREATE TABLE public.workflow_executions (id uuid)", DENIED),
    (
        "a function in cloacina",
        "CREATE FUNCTION cloacina.fence(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        DENIED,
    ),
    (
        "an event trigger",
        "CREATE EVENT TRIGGER e ON ddl_command_start EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        DENIED,
    ),
    // One's own place, as it was made.
    ("drop one's table", "DROP TABLE acme.workflow_executions", DENIED),
    ("rename one's table", "ALTER TABLE acme.workflow_executions RENAME TO x", DENIED),
    ("own one's table", "ALTER TABLE acme.workflow_executions OWNER TO {me}", DENIED),
    ("truncate one's table", "TRUNCATE acme.workflow_executions", DENIED),
    ("rebuild one's index", "REINDEX TABLE acme.workflow_executions", DENIED),
    ("drop one's schema", "DROP SCHEMA acme CASCADE", DENIED),
    ("own one's schema", "ALTER SCHEMA acme OWNER TO {me}", DENIED),
    ("comment on one's table", "COMMENT ON TABLE acme.workflow_executions IS 'x'", DENIED),
    ("grant one's tables", "GRANT SELECT ON acme.workflow_executions TO PUBLIC", Nothing),
    ("grant one's schema", "GRANT USAGE ON SCHEMA acme TO PUBLIC", Nothing),
    (
        "a tenant's negative attempt",
        "INSERT INTO acme.task_executions (tenant_id, execution_id, task, name, state, waiting_on, attempt) VALUES (gen_random_uuid(), gen_random_uuid(), 0, 'x', 'pending', 1, -1)",
        Refused(&["23514"]),
    ),
    // Being somebody else.
    ("become the other tenant", "SET ROLE {them}", DENIED),
    ("become the other's group", "SET ROLE {their_group}", DENIED),
    ("become the owner", "SET ROLE cloacina_owner", DENIED),
    ("become the operator", "SET ROLE cloacina_engine", DENIED),
    ("become the superuser", "SET ROLE postgres", DENIED),
    ("begin another session", "SET SESSION AUTHORIZATION {them}", DENIED),
    ("be a member of the other's group", "GRANT {their_group} TO {me}", DENIED),
    ("be an operator", "GRANT cloacina_engine TO {me}", DENIED),
    ("let the other into one's group", "GRANT {my_group} TO {them}", DENIED),
    ("be a superuser", "ALTER ROLE {me} SUPERUSER", DENIED),
    ("make roles", "CREATE ROLE x", DENIED),
    ("make databases", "CREATE DATABASE x", DENIED),
    ("have more connections", "ALTER ROLE {me} CONNECTION LIMIT -1", DENIED),
    ("live longer", "ALTER ROLE {me} VALID UNTIL 'infinity'", DENIED),
    ("change the other's password", "ALTER ROLE {them} PASSWORD 'sesame'", DENIED),
    ("change the other's settings", "ALTER ROLE {them} SET search_path = acme", DENIED),
    ("drop the other", "DROP ROLE {them}", DENIED),
    ("drop oneself", "DROP ROLE {me}", DENIED),
    ("one's own settings", "ALTER ROLE {me} SET lock_timeout = '1h'", ByDesign("A tenant's own session")),
    (
        "one's own default privileges",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM PUBLIC",
        ByDesign("A tenant's own session"),
    ),
    (
        "default privileges of the owner",
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloacina_owner GRANT SELECT ON TABLES TO PUBLIC",
        DENIED,
    ),
    // The server and what lies under it.
    ("a program", "COPY (SELECT 1) TO PROGRAM 'true'", DENIED),
    ("a file", "COPY acme.workflow_executions FROM '/etc/passwd'", DENIED),
    ("read a file", "SELECT pg_read_file('postgresql.conf')", DENIED),
    ("list a directory", "SELECT pg_ls_dir('.')", DENIED),
    ("import a large object", "SELECT lo_import('/etc/passwd')", DENIED),
    ("an extension", "CREATE EXTENSION dblink", DENIED),
    ("a trusted extension", "CREATE EXTENSION pgcrypto", DENIED),
    ("a foreign-data wrapper", "CREATE FOREIGN DATA WRAPPER w", DENIED),
    ("a foreign server", "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw", UNKNOWN),
    ("a language", "CREATE LANGUAGE plpython3u", Refused(&["42501", "0A000", "58P01"])),
    ("a tablespace", "CREATE TABLESPACE t LOCATION '/tmp'", DENIED),
    ("a publication", "CREATE PUBLICATION p FOR ALL TABLES", DENIED),
    ("a subscription", "CREATE SUBSCRIPTION s CONNECTION 'host=localhost' PUBLICATION p", DENIED),
    (
        "a replication slot",
        "SELECT pg_create_logical_replication_slot('s', 'pgoutput')",
        Refused(&["42501", "55000"]),
    ),
    ("the server's settings", "ALTER SYSTEM SET log_statement = 'all'", DENIED),
    ("the database's settings", "ALTER DATABASE {database} SET search_path = acme", DENIED),
    ("what is logged", "SET log_statement = 'none'", DENIED),
    ("triggers off", "SET session_replication_role = replica", DENIED),
    ("where the files are", "SHOW data_directory", DENIED),
    ("who may log in from where", "SELECT * FROM pg_hba_file_rules", DENIED),
    ("passwords", "SELECT rolpassword FROM pg_authid", DENIED),
    ("passwords by another view", "SELECT passwd FROM pg_shadow", DENIED),
    ("values in statistics", "SELECT * FROM pg_statistic", DENIED),
    ("values in readable statistics", "SELECT * FROM pg_stats WHERE schemaname = 'globex'", Nothing),
    ("reset statistics", "SELECT pg_stat_reset()", DENIED),
    ("reload the configuration", "SELECT pg_reload_conf()", DENIED),
    (
        "query texts of others",
        "SELECT query FROM pg_stat_activity WHERE usename <> current_user AND query NOT IN ('', '<insufficient privilege>')",
        Nothing,
    ),
    ("end the operator's session", "SELECT pg_terminate_backend({hub_pid})", DENIED),
    ("stop the operator's statement", "SELECT pg_cancel_backend({hub_pid})", DENIED),
    ("another's large object", "SELECT lo_get({large_object})", DENIED),
    ("prepare a transaction", "BEGIN; PREPARE TRANSACTION 'x'", Refused(&["55000"])),
    ("a dump of everything", "SELECT WHERE database_to_xml(true, false, '')::text LIKE '%sesame%'", Nothing),
    // Where PostgreSQL shows what we cannot hide.
    (
        "names of schemas",
        "SELECT nspname FROM pg_namespace WHERE nspname = 'globex'",
        ByDesign("Names and sizes in the catalogs"),
    ),
    (
        "names of roles",
        "SELECT rolname FROM pg_roles WHERE rolname = '{them}'",
        ByDesign("Names and sizes in the catalogs"),
    ),
    (
        "settings of roles",
        "SELECT setconfig FROM pg_db_role_setting JOIN pg_roles ON setrole = pg_roles.oid WHERE rolname = '{them}'",
        ByDesign("Names and sizes in the catalogs"),
    ),
    (
        "definitions of tables",
        "SELECT attname FROM pg_attribute WHERE attrelid = (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'globex' AND relname = 'ready_tasks')",
        ByDesign("Names and sizes in the catalogs"),
    ),
    (
        "sizes",
        "SELECT pg_total_relation_size(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'globex' AND relkind = 'r'",
        ByDesign("Names and sizes in the catalogs"),
    ),
    (
        "activity",
        "SELECT n_tup_ins FROM pg_stat_all_tables WHERE schemaname = 'globex'",
        ByDesign("How much others do"),
    ),
    (
        "sessions",
        "SELECT usename FROM pg_stat_activity WHERE usename <> current_user",
        ByDesign("How much others do"),
    ),
    ("locks", "SELECT * FROM pg_locks", ByDesign("How much others do")),
    (
        "the engine's functions",
        "SELECT prosrc FROM pg_proc WHERE proname = 'ring' AND pronamespace = 'cloacina'::regnamespace",
        ByDesign("Names and sizes in the catalogs"),
    ),
    ("an advisory lock", "SELECT pg_advisory_lock(n) FROM generate_series(1, 100) n", DENIED),
    ("a shared advisory lock", "SELECT pg_advisory_lock_shared(1, 1)", DENIED),
    ("an advisory lock that is tried", "SELECT pg_try_advisory_xact_lock(1)", DENIED),
    ("a notification", "NOTIFY cloacina; NOTIFY cloacina, 'globex'", ByDesign("Notifications")),
    ("listen", "LISTEN cloacina; UNLISTEN *", ByDesign("Notifications")),
    ("a large object", "SELECT lo_unlink(lo_create(0))", DENIED),
    ("a large object of bytes", "SELECT lo_from_bytea(0, 'x')", DENIED),
];

/// What is the same before and after all attempts.
async fn untouched(superuser: &Client) -> String {
    let mut all = String::new();
    for text in [
        "SELECT * FROM globex.workflow_executions ORDER BY id",
        "SELECT * FROM globex.task_executions ORDER BY execution_id, task",
        "SELECT tenant_id, state, epoch, group_name, max_concurrent_tasks FROM cloacina.tenant ORDER BY tenant_id",
        "SELECT * FROM cloacina.login ORDER BY role_oid",
        "SELECT id, state FROM cloacina.runner WHERE tenant_id IS NULL ORDER BY id",
        "SELECT count(*) FROM cloacina.audit",
        "SELECT nspname, nspacl FROM pg_namespace ORDER BY 1",
        "SELECT oid::regclass::text, relowner, relacl, relkind FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace ORDER BY 1",
        "SELECT count(*) FROM pg_proc",
        "SELECT count(*) FROM pg_trigger",
        "SELECT count(*) FROM pg_largeobject_metadata",
    ] {
        for message in superuser.simple_query(text).await.unwrap() {
            if let SimpleQueryMessage::Row(row) = message {
                for column in 0..row.len() {
                    all.push_str(row.get(column).unwrap_or("NULL"));
                    all.push('\t');
                }
                all.push('\n');
            }
        }
    }
    all
}

async fn attempt(
    attacker: &TenantCredentials,
    name: &str,
    text: &str,
    outcome: &Outcome,
) -> Result<(), String> {
    let session = connect(&attacker.connection_string).await.unwrap();
    let answer = session.simple_query(text).await;
    match (outcome, answer) {
        (Refused(states), Err(error)) => match error.code() {
            Some(code) if states.contains(&code.code()) => Ok(()),
            _ => Err(format!("{name}: refused otherwise: {error:?}")),
        },
        (Nothing, Ok(messages)) => {
            let rows = messages.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
            if rows { Err(format!("{name}: there is something: {messages:?}")) } else { Ok(()) }
        }
        (ByDesign(heading), Ok(_)) if GUIDE.contains(&format!("## {heading}\n")) => Ok(()),
        (ByDesign(heading), Ok(_)) => Err(format!("{name}: the guide has no part `{heading}`")),
        (_, Ok(messages)) => Err(format!("{name}: not refused: {messages:?}")),
        (_, Err(error)) => Err(format!("{name}: {error:?}")),
    }
}

async fn attack(database: &Administered) {
    let acme = database.tenant("acme").await;
    let globex = database.tenant("globex").await;
    let superuser = database.superuser().await;
    // The operator's hub works for both, and so does the administrator.
    let operator = [
        runner(&database.url, Some("acme"), "acme").await,
        runner(&database.url, Some("globex"), "globex").await,
    ];
    for runner in &operator {
        works(runner).await;
    }
    let theirs = runner(&globex.connection_string, None, "globex").await;
    theirs.execute("w", Context::new().with("secret", "sesame")).await.unwrap();
    let one =
        |text: &'static str| async { superuser.query_one(text, &[]).await.unwrap().get::<_, String>(0) };
    let hub = one("SELECT id::text FROM cloacina.runner WHERE tenant_id IS NULL").await;
    let hub_pid = one(
        "SELECT min(pid)::text FROM pg_stat_activity WHERE datname = current_database() AND usename NOT IN \
         (SELECT role_name FROM cloacina.login) AND application_name = 'cloacina'",
    )
    .await;
    let large_object = one("SELECT lo_from_bytea(0, 'sesame')::text").await;
    let fill = |text: &str| {
        text.replace("{me}", &acme.username)
            .replace("{them}", &globex.username)
            .replace("{my_group}", &format!("{}__g", acme.username))
            .replace("{their_group}", &format!("{}__g", globex.username))
            .replace("{hub}", &hub)
            .replace("{hub_pid}", &hub_pid)
            .replace("{large_object}", &large_object)
            .replace("{database}", &crate::admin::database_of(&database.url))
    };
    let before = untouched(&superuser).await;

    let ended = AtomicBool::new(false);
    let attempts = async {
        let mut failures = Vec::new();
        for (name, text, outcome) in ATTEMPTS {
            if let Err(failure) = attempt(&acme, name, &fill(text), outcome).await {
                failures.push(failure);
            }
        }
        ended.store(true, Ordering::Relaxed);
        failures
    };
    let at_work = async {
        while !ended.load(Ordering::Relaxed) {
            for runner in &operator {
                works(runner).await;
            }
            database.admin.inspect_tenant("acme").await.unwrap();
            database.admin.migrate_tenants(&[]).await.unwrap();
            database.admin.measure_tenants().await.unwrap();
            database.admin.reap_sessions().await.unwrap();
        }
    };
    let (failures, ()) = tokio::join!(attempts, at_work);
    assert!(failures.is_empty(), "{failures:#?}");
    // What the operator did meanwhile is there, and nothing else.
    let sql = "DELETE FROM globex.task_executions t USING globex.workflow_executions e WHERE e.id = t.execution_id \
        AND e.input::text NOT LIKE '%sesame%'; DELETE FROM globex.workflow_executions WHERE input::text NOT LIKE '%sesame%'";
    superuser.batch_execute(sql).await.unwrap();
    let after = untouched(&superuser).await;
    let lines = |text: &str| {
        text.lines().filter(|line| !line.contains("sesame")).map(str::to_owned).collect::<Vec<_>>()
    };
    for line in lines(&after) {
        assert!(before.contains(&line), "new: {line}");
    }
    assert!(after.contains("sesame"));
    for schema in ["acme", "globex"] {
        database.admin.verify_tenant(schema).await.unwrap();
    }
    for runner in operator.iter().chain([&theirs]) {
        works(runner).await;
        runner.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_tenant_tries_with_its_own_login_is_refused_finds_nothing_or_is_told_in_the_guide() {
    assert!(ATTEMPTS.len() >= 80);
    Box::pin(in_time(async {
        attack(&Administered::by_a_provisioner().await).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_as_the_administrator_makes_no_difference_to_an_attacker() {
    Box::pin(in_time(async {
        attack(&Administered::by_a_superuser().await).await;
    }))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_fences_the_operators_runner_keeps_nobody_from_condemning_it() {
    Box::pin(in_time(async {
        let database = Administered::by_a_provisioner().await;
        let acme = database.tenant("acme").await;
        let operator = runner(&database.url, Some("acme"), "operator").await;
        works(&operator).await;
        let superuser = database.superuser().await;
        let hub: String =
            superuser.query_one("SELECT id::text FROM cloacina.runner", &[]).await.unwrap().get(0);
        let tenant = connect(&acme.connection_string).await.unwrap();
        tenant.batch_execute(&format!("BEGIN; SELECT cloacina.my_fence('{hub}')")).await.unwrap();
        let lock =
            format!("BEGIN; SELECT FROM cloacina.runner WHERE id = '{hub}' FOR UPDATE NOWAIT; ROLLBACK");
        superuser.batch_execute(&lock).await.unwrap();
        drop(tenant);
        operator.shutdown().await.unwrap();
    }))
    .await;
}
