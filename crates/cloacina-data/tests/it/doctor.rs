//! A place that is not clean is not opened: each rule, by a fault that is planted, found, and mended.

use cloacina::data::{DataError, DataErrorKind, TenantDb};
use cloacina::runner::Runner;
use cloacina_testing::cluster::{Cluster, Server};
use tokio_postgres::{Client, NoTls};

use cloacina::data::sea_orm::sea_query::ColumnDef;

use crate::model::data;
use crate::support::{Placement, assert_says, in_each_placement};

/// A fault: what plants it, words of what is said about it, what mends it. With nothing to mend it, the
/// remedy that is said is run.
type Fault = (&'static str, &'static str, &'static str);

/// In every place on PostgreSQL. `S` is its schema.
const ANYWHERE: &[Fault] = &[
    ("CREATE TABLE S.stray (id integer)", "the table stray is not declared", "DROP TABLE S.stray"),
    ("CREATE SEQUENCE S.stray", "the sequence stray belongs to no table", "DROP SEQUENCE S.stray"),
    (
        "CREATE VIEW S.members AS SELECT * FROM S.member",
        "the view members reads with the rights of its owner",
        "DROP VIEW S.members",
    ),
    (
        "CREATE VIEW public.members AS SELECT * FROM S.member; CREATE VIEW public.again AS SELECT * FROM public.members",
        "the view public.again reads table rows with the rights of its owner",
        "DROP VIEW public.members CASCADE",
    ),
    (
        "CREATE MATERIALIZED VIEW S.kept AS SELECT 1 AS one",
        "the materialized view kept holds rows that no rule keeps apart",
        "DROP MATERIALIZED VIEW S.kept",
    ),
    (
        "CREATE MATERIALIZED VIEW public.kept AS SELECT * FROM S.member",
        "the materialized view public.kept reads table rows",
        "",
    ),
    (
        "CREATE FUNCTION S.lower(character varying) RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
        ".lower(character varying) is in the schema",
        "DROP FUNCTION S.lower",
    ),
    (
        "CREATE FUNCTION public.same(uuid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR S.= (LEFTARG = uuid, RIGHTARG = text, FUNCTION = public.same)",
        "operator S.=(uuid,text) is in the schema",
        "DROP OPERATOR S.= (uuid, text); DROP FUNCTION public.same",
    ),
    ("CREATE TYPE S.mood AS ENUM ('glad')", "type S.mood is in the schema", "DROP TYPE S.mood"),
    (
        "CREATE FUNCTION public.count(S.member) RETURNS integer LANGUAGE sql AS 'SELECT 1';
         CREATE CAST (S.member AS integer) WITH FUNCTION public.count(S.member)",
        "there is cast from S.member to integer",
        "DROP CAST (S.member AS integer); DROP FUNCTION public.count(S.member)",
    ),
    (
        "CREATE TRIGGER watching BEFORE UPDATE ON S.member FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "there is a trigger watching on table member",
        "",
    ),
    (
        "CREATE TRIGGER watching BEFORE UPDATE ON S.task_executions FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "there is a trigger watching on table task_executions",
        "",
    ),
    (
        "CREATE RULE keeping AS ON DELETE TO S.country DO INSTEAD NOTHING",
        "there is a rule keeping on table country",
        "",
    ),
    ("CREATE POLICY open ON S.member USING (true)", "there is a policy open on table member", ""),
    ("CREATE POLICY open ON S.country USING (true)", "there is a policy open on table country", ""),
    (
        "CREATE TABLE public.heir () INHERITS (S.country)",
        "public.heir inherits from table country",
        "DROP TABLE public.heir",
    ),
    (
        "ALTER TABLE S.letter RENAME TO mislaid",
        "table letter is missing",
        "ALTER TABLE S.mislaid RENAME TO letter",
    ),
    (
        "ALTER TABLE S.member RENAME COLUMN cents TO euros",
        "table member has no column cents",
        "ALTER TABLE S.member RENAME COLUMN euros TO cents",
    ),
    (
        "ALTER TABLE S.letter DROP CONSTRAINT letter_pkey, ALTER COLUMN tenant_id DROP NOT NULL",
        "table letter has no column tenant_id of type uuid that is not null",
        "ALTER TABLE S.letter ADD PRIMARY KEY (tenant_id, id)",
    ),
    (
        "ALTER TABLE S.member ALTER COLUMN tenant_id DROP DEFAULT",
        "the column tenant_id of table member does not get the tenant by default",
        "",
    ),
    (
        "ALTER TABLE S.member ALTER COLUMN tenant_id SET DEFAULT gen_random_uuid()",
        "the column tenant_id of table member does not get the tenant by default",
        "",
    ),
    (
        "CREATE UNIQUE INDEX telling ON S.member (email)",
        "the unique index telling of table member is not led by tenant_id",
        "DROP INDEX S.telling",
    ),
    (
        "ALTER TABLE S.member ADD CONSTRAINT telling EXCLUDE USING hash (email WITH =)",
        "the unique index telling of table member is not led by tenant_id",
        "ALTER TABLE S.member DROP CONSTRAINT telling",
    ),
    (
        "CREATE UNIQUE INDEX telling ON S.member (id);
         ALTER TABLE S.letter ADD CONSTRAINT across FOREIGN KEY (member_id) REFERENCES S.member (id)",
        "the foreign key across of table letter refers to S.member without the tenant",
        "ALTER TABLE S.letter DROP CONSTRAINT across; DROP INDEX S.telling",
    ),
    (
        "CREATE TABLE public.spy (tenant_id uuid, id integer, CONSTRAINT spying FOREIGN KEY (tenant_id, id) REFERENCES S.member (tenant_id, id))",
        "the foreign key spying of public.spy, a table that is not of this place, refers to table member",
        "DROP TABLE public.spy",
    ),
    ("GRANT TRIGGER ON S.member TO PUBLIC", "TRIGGER on table member is granted to everybody", ""),
    ("GRANT SELECT ON S.member TO PUBLIC", "SELECT on table member is granted to everybody", ""),
    (
        "GRANT INSERT (name) ON S.country TO PUBLIC",
        "INSERT on column name of table country is granted to everybody",
        "",
    ),
    ("GRANT CREATE ON SCHEMA S TO PUBLIC", "CREATE on schema S is granted to everybody", ""),
    (
        "GRANT TRUNCATE ON S.member TO cloacina_engine",
        "TRUNCATE on table member is granted to cloacina_engine",
        "",
    ),
];

/// Where the database keeps the login to its tenants. `L` is the login, `G` the role that rights are granted
/// to, `A` the administrator.
const KEPT: &[Fault] = &[
    ("GRANT TRUNCATE ON S.member TO G", "TRUNCATE on table member is granted to G", ""),
    ("GRANT REFERENCES ON S.member TO G", "REFERENCES on table member is granted to G", ""),
    ("GRANT TRIGGER ON S.workflow_executions TO G", "TRIGGER on table workflow_executions is granted to G", ""),
    ("GRANT INSERT (tenant_id) ON S.member TO G", "INSERT on column tenant_id of table member is granted to G", ""),
    ("GRANT UPDATE (tenant_id) ON S.member TO G", "UPDATE on column tenant_id of table member is granted to G", ""),
    // The grants on columns go with that on the table.
    (
        "GRANT UPDATE ON S.member TO G",
        "UPDATE on table member is granted to G",
        "REVOKE UPDATE ON S.member FROM G; GRANT UPDATE (id, email, name, cents, country) ON S.member TO G",
    ),
    ("GRANT DELETE ON S.country TO G", "DELETE on table country is granted to G", ""),
    ("GRANT INSERT ON S.cloacina_data_migration TO G", "INSERT on table cloacina_data_migration is granted to G", ""),
    (
        "GRANT SELECT ON S.member TO G WITH GRANT OPTION",
        "SELECT on table member is granted to G with grant option",
        "REVOKE GRANT OPTION FOR SELECT ON S.member FROM G",
    ),
    ("GRANT SELECT ON S.member TO cloacina_engine", "SELECT on table member is granted to cloacina_engine", ""),
    ("GRANT CREATE ON SCHEMA S TO G", "CREATE on schema S is granted to G", ""),
    ("ALTER TABLE S.letter OWNER TO L", "table letter belongs to L", ""),
    ("ALTER TABLE S.letter OWNER TO L", "L owns table S.letter", "ALTER TABLE S.letter OWNER TO cloacina_owner"),
    ("ALTER SCHEMA S OWNER TO L", "the schema S belongs to L", ""),
    ("CREATE TABLE public.mine (); ALTER TABLE public.mine OWNER TO L", "L owns table public.mine", "DROP TABLE public.mine"),
    (
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloacina_owner IN SCHEMA S GRANT SELECT ON TABLES TO PUBLIC",
        "default privileges of cloacina_owner give SELECT on new objects to everybody",
        "ALTER DEFAULT PRIVILEGES FOR ROLE cloacina_owner IN SCHEMA S REVOKE SELECT ON TABLES FROM PUBLIC",
    ),
    ("ALTER ROLE L SUPERUSER", "the role L has an attribute that it must not have", ""),
    ("ALTER ROLE L BYPASSRLS", "the role L has an attribute that it must not have", ""),
    ("ALTER ROLE G CREATEROLE", "the role G has an attribute that it must not have", ""),
    ("GRANT cloacina_owner TO L", "L is a member of cloacina_owner", ""),
    ("GRANT cloacina_engine TO G", "G is a member of cloacina_engine", ""),
    ("GRANT pg_execute_server_program TO L", "L is a member of pg_execute_server_program", ""),
    ("GRANT pg_read_all_data TO G", "G is a member of pg_read_all_data", ""),
    ("GRANT pg_signal_backend TO L", "L is a member of pg_signal_backend", ""),
    ("CREATE ROLE friend; GRANT L TO friend", "friend is a member of the tenant's L", "DROP ROLE friend"),
    // From version 16 on a membership is that of who granted it.
    ("REVOKE G FROM L GRANTED BY A", "L is no member of a role that rights on the place are granted to", "GRANT G TO L"),
    ("GRANT TEMPORARY ON DATABASE D TO PUBLIC", "L can make temporary tables in the database D", ""),
    ("GRANT CREATE ON DATABASE D TO L", "L can make schemas in the database D", ""),
    ("GRANT CREATE ON SCHEMA public TO PUBLIC", "L can make objects in the schema public", ""),
    ("GRANT SELECT ON cloacina.data_key TO L", "L can use the table cloacina.data_key", ""),
    ("GRANT SELECT (name) ON cloacina.tenant TO PUBLIC", "L can use the table cloacina.tenant", "REVOKE SELECT (name) ON cloacina.tenant FROM PUBLIC"),
    ("CREATE TABLE public.other (); GRANT SELECT ON public.other TO G", "G has rights on table public.other", "DROP TABLE public.other"),
    (
        "CREATE FUNCTION public.all_members() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM S.member'",
        "L can run public.all_members() with the rights of ",
        "DROP FUNCTION public.all_members",
    ),
    (
        "CREATE FUNCTION cloacina.anybody() RETURNS integer LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'",
        "L can run cloacina.anybody() with the rights of ",
        "DROP FUNCTION cloacina.anybody",
    ),
    (
        "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO L",
        "L can run pg_read_file(text), which the server keeps from ordinary logins",
        "",
    ),
    (
        "GRANT EXECUTE ON FUNCTION lo_import(text) TO PUBLIC",
        "L can run lo_import(text), which the server keeps from ordinary logins",
        "",
    ),
    (
        "CREATE FUNCTION public.reading(text) RETURNS text LANGUAGE internal AS 'pg_read_file_all'",
        "L can run public.reading(text), which is written in an untrusted language",
        "DROP FUNCTION public.reading",
    ),
    ("CREATE EXTENSION dblink", "L can use the extension dblink, which is none that the server trusts", "DROP EXTENSION dblink"),
    (
        "CREATE SCHEMA away; CREATE EXTENSION postgres_fdw SCHEMA away; GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO PUBLIC",
        "L can use the foreign-data wrapper postgres_fdw",
        "DROP SCHEMA away CASCADE",
    ),
    (
        "CREATE SCHEMA away; CREATE EXTENSION postgres_fdw SCHEMA away; CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw;
         GRANT USAGE ON FOREIGN SERVER far TO PUBLIC",
        "L can use the foreign server far",
        "DROP SCHEMA away CASCADE",
    ),
    (
        "CREATE SCHEMA other; CREATE TABLE other.workflow_executions (); GRANT USAGE ON SCHEMA other TO PUBLIC",
        "L can use the schema other of another tenant",
        "DROP SCHEMA other CASCADE",
    ),
];

/// Where tenants share tables. `O` is the operator's login.
const SHARED: &[Fault] = &[
    ("ALTER TABLE S.member DISABLE ROW LEVEL SECURITY", "row security of table member is not enabled", ""),
    ("ALTER TABLE S.member NO FORCE ROW LEVEL SECURITY", "row security of table member is not forced", ""),
    (
        "ALTER TABLE S.task_executions NO FORCE ROW LEVEL SECURITY",
        "row security of table task_executions is not forced",
        "",
    ),
    ("DROP POLICY tenant ON S.member", "the policy tenant of table member is missing or another one", ""),
    (
        "ALTER POLICY tenant ON S.member USING (true)",
        "the policy tenant of table member is missing or another one",
        "",
    ),
    (
        "ALTER POLICY tenant ON S.member WITH CHECK (true)",
        "the policy tenant of table member is missing or another one",
        "",
    ),
    (
        "DROP POLICY tenant ON S.member; CREATE POLICY tenant ON S.member TO G USING (tenant_id = (SELECT cloacina.entered()))",
        "the policy tenant of table member is missing or another one",
        "",
    ),
    (
        "ALTER POLICY tenant ON S.member USING (tenant_id = nullif(current_setting('cloacina.tenant', true), '')::uuid)",
        "the policy tenant of table member is missing or another one",
        "",
    ),
    (
        "ALTER POLICY operator ON S.member TO PUBLIC",
        "the policy operator of table member is missing or another one",
        "",
    ),
    (
        "ALTER POLICY operator ON S.ready_tasks TO cloacina_engine, cloacina_owner, G",
        "the policy operator of table ready_tasks is missing or another one",
        "",
    ),
    (
        "CREATE POLICY more ON S.member FOR SELECT TO G USING (true)",
        "there is a policy more on table member",
        "",
    ),
    ("DROP POLICY reader ON S.letter", "the policy reader of table letter is missing or another one", ""),
    (
        "ALTER POLICY reader ON S.letter USING (true)",
        "the policy reader of table letter is missing or another one",
        "",
    ),
    (
        "ALTER POLICY reader ON S.letter TO cloacina_reader, G",
        "the policy reader of table letter is missing or another one",
        "",
    ),
    (
        "GRANT UPDATE ON S.member TO cloacina_reader",
        "UPDATE on table member is granted to cloacina_reader",
        "",
    ),
    (
        "GRANT SELECT ON S.workflow_executions TO cloacina_reader",
        "SELECT on table workflow_executions is granted to cloacina_reader",
        "",
    ),
    ("ALTER ROLE O SUPERUSER", "the operator's login O is a superuser or has BYPASSRLS", ""),
    ("ALTER ROLE O BYPASSRLS", "the operator's login O is a superuser or has BYPASSRLS", ""),
    ("GRANT cloacina_owner TO O", "the operator's login O is a member of cloacina_owner", ""),
];

/// Where the operator's login works in schemas that it made.
const OPERATORS: &[Fault] = &[
    (
        "CREATE ROLE stranger; ALTER TABLE S.member OWNER TO stranger",
        "table member belongs to stranger, which the login L is no member of",
        "ALTER TABLE S.member OWNER TO L; DROP ROLE stranger",
    ),
    (
        "CREATE ROLE stranger; GRANT TRIGGER ON S.member TO stranger",
        "TRIGGER on table member is granted to stranger",
        "DROP OWNED BY stranger; DROP ROLE stranger",
    ),
    (
        "CREATE ROLE stranger; GRANT INSERT ON S.member TO stranger",
        "INSERT on table member is granted to stranger",
        "DROP OWNED BY stranger; DROP ROLE stranger",
    ),
];

in_each_placement! {
    async fn a_place_that_nobody_touched_is_clean(place: Placement) {
        let two = place.two(&data()).await;
        for db in [&two.acme, &two.globex] {
            opened(db).await.unwrap();
            assert_eq!(db.verify().await.unwrap(), []);
        }
    }

    async fn a_whole_database_can_be_looked_at(place: Placement) {
        let two = place.two(&data()).await;
        opened(&two.acme).await.unwrap();
        opened(&two.globex).await.unwrap();
        let url = match &place {
            Placement::OwnRole(own) => own.admin_url.clone(),
            Placement::Shared(shared) => shared.admin_url.clone(),
            Placement::Database(databases) => databases.admin_url.clone(),
            _ => place.told("globex", &data()).await.remove(0),
        };
        assert_eq!(data().verify(&url).await.unwrap(), []);
        let stray = "CREATE TABLE stray (id integer)";
        let named = match place.seen_from_above("globex").await {
            None => {
                rusqlite::Connection::open(url.strip_prefix("sqlite://").unwrap()).unwrap().execute_batch(stray).unwrap();
                url.clone()
            }
            Some((superuser, schema)) => {
                crate::ledger::connect(&superuser, &schema).await.batch_execute(stray).await.unwrap();
                schema
            }
        };
        let findings = data().verify(&url).await.unwrap();
        let found = findings.iter().find(|finding| finding.what.contains("stray")).unwrap();
        assert!(found.is_fatal && (found.place == "globex" || named.contains(&found.place)), "{found:?}");
        if let Placement::OwnRole(own) = &place {
            // The table belongs to a superuser.
            own.admin.verify_tenant("globex").await.unwrap_err();
            assert_eq!(own.admin.verify_tenant("acme").await.unwrap().findings, Vec::<String>::new());
        }
    }
}

/// Opens the place as a process that has not seen it before.
async fn opened(db: &TenantDb) -> Result<(), DataError> {
    db.read_as(async |_| Ok(())).await
}

/// What the letters in a fault stand for.
struct Names(Vec<(&'static str, String)>);

impl Names {
    /// Of words, the single letters that stand for names.
    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        let mut rest = text;
        while let Some(start) = rest.find(is_word) {
            let length = rest[start..].find(|letter| !is_word(letter)).unwrap_or(rest.len() - start);
            let (before, word) = (&rest[..start], &rest[start..start + length]);
            let named = self.0.iter().find(|(letter, _)| *letter == word);
            filled.push_str(before);
            filled.push_str(named.map_or(word, |(_, name)| name));
            rest = &rest[start + length..];
        }
        filled + rest
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A place of every kind on PostgreSQL, on a server of the test's own, whose roles it changes.
struct Sick {
    told: Vec<String>,
    /// Whether the tenant has a login of its own.
    own: bool,
    superuser: Client,
    names: Names,
    _cluster: Cluster,
}

impl Sick {
    async fn new(place: impl AsyncFnOnce(&Server) -> Placement) -> Self {
        let cluster = Cluster::start().unwrap();
        let place = place(&cluster).await;
        let runner = place.runner("acme", &data(), vec![]).await;
        opened(&runner.data().unwrap()).await.unwrap();
        let told = place.told("acme", &data()).await;
        let url = told[0].clone();
        let superuser = connect(&cluster.superuser_url_of(&url)).await;
        // Where no tenant has a login of its own there is none of these.
        superuser
            .batch_execute(
                "DO $$ BEGIN CREATE ROLE cloacina_engine; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
            )
            .await
            .unwrap();
        let (database, after_scheme) = (url.rsplit('/').next().unwrap(), url.split("://").nth(1).unwrap());
        let (database, operator) = (database.to_owned(), after_scheme.split(':').next().unwrap().to_owned());
        let (schema, login, group) = match &place {
            Placement::Shared(shared) => {
                ("cloacina_shared".to_owned(), shared.app.username.clone(), "cloacina_app".to_owned())
            }
            _ => ("acme".to_owned(), operator.clone(), format!("{operator}__g")),
        };
        let named = [
            ("S", schema),
            ("L", login),
            ("G", group),
            ("O", operator),
            ("A", database.clone()),
            ("D", database),
        ];
        let names = Names(named.into());
        Self { told, own: matches!(place, Placement::OwnRole(_)), superuser, names, _cluster: cluster }
    }

    async fn run(&self, text: &str) {
        self.superuser.batch_execute(text).await.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }

    /// The place as a process has it that has not used it yet.
    async fn another_process(&self) -> Runner {
        let data = data();
        let builder = Runner::builder();
        let builder = match &self.told[..] {
            [url, username, password] => {
                builder.database_url(url).tenant("acme").data(&data.app_login(username, password))
            }
            [url] if self.own => builder.database_url(url).data(&data),
            [url] => builder.database_url(url).schema("acme").data(&data),
            told => panic!("{told:?}"),
        };
        builder.build().await.unwrap()
    }

    /// Plants each fault in turn.
    async fn each_is_found(&self, faults: &[Fault]) {
        for (plant, words, mend) in faults {
            let [plant, words, mend] = [plant, words, mend].map(|text| self.names.fill(text));
            let runner = self.another_process().await;
            let db = runner.data().unwrap();
            self.run(&plant).await;
            let findings = db.verify().await.unwrap();
            let found = findings.iter().find(|finding| finding.what.contains(&words));
            let found = found.unwrap_or_else(|| panic!("{plant}: `{words}` is not in {findings:#?}"));
            assert!(found.is_fatal && !found.remedy.is_empty(), "{plant}: {found:?}");

            let error = opened(&db).await.expect_err(&plant);
            assert_says(&error, DataErrorKind::Place, "tenant `acme`");
            // Some make the place unreadable at once.
            let said = error.to_string();
            let named = findings.iter().any(|finding| said.contains(&finding.to_string()));
            assert!(named || error.database().is_some(), "{plant}: {said}");

            self.run(if mend.is_empty() { &found.remedy } else { &mend }).await;
            assert_eq!(db.verify().await.unwrap(), [], "after {plant} was mended");
            opened(&db).await.unwrap_or_else(|error| panic!("after {plant} was mended: {error}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_schema_is_overlooked() {
    let sick = Sick::new(async |server| Placement::Schema(server.fresh_database().await.unwrap())).await;
    sick.each_is_found(ANYWHERE).await;
    sick.each_is_found(OPERATORS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_schema_with_a_login_is_overlooked() {
    let sick = Sick::new(Placement::own_role_on).await;
    sick.each_is_found(ANYWHERE).await;
    sick.each_is_found(KEPT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_shared_tables_is_overlooked() {
    let sick = Sick::new(Placement::shared_on).await;
    sick.each_is_found(ANYWHERE).await;
    sick.each_is_found(KEPT).await;
    sick.each_is_found(SHARED).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_harms_nobody_is_no_finding() {
    let sick = Sick::new(Placement::shared_on).await;
    let harmless = [
        "CREATE VIEW S.mine WITH (security_invoker = true) AS SELECT name FROM S.member; ALTER VIEW S.mine OWNER TO cloacina_owner",
        "CREATE VIEW public.mine WITH (security_invoker = on) AS SELECT name FROM S.member",
        "CREATE EXTENSION pg_trgm SCHEMA S",
        "CREATE EXTENSION pgcrypto",
        "CREATE STATISTICS S.together ON name, cents FROM S.member",
        "CREATE TABLE public.other (id integer)",
        "CREATE INDEX more ON S.member (tenant_id, name)",
        "GRANT CONNECT ON DATABASE D TO L",
        // What a tenant with a login grants of its own.
        "CREATE ROLE neighbour__g IN ROLE cloacina_tenant; CREATE ROLE neighbour IN ROLE neighbour__g; SELECT lo_create(4711);
         ALTER LARGE OBJECT 4711 OWNER TO neighbour; GRANT SELECT ON LARGE OBJECT 4711 TO cloacina_app;
         ALTER DEFAULT PRIVILEGES FOR ROLE neighbour GRANT SELECT ON TABLES TO cloacina_app",
    ];
    let server: i32 = sick
        .superuser
        .query_one("SELECT current_setting('server_version_num')::integer", &[])
        .await
        .unwrap()
        .get(0);
    for statement in harmless.iter().filter(|text| server >= 150_000 || !text.contains("security_invoker")) {
        sick.run(&sick.names.fill(statement)).await;
    }
    let runner = sick.another_process().await;
    let db = runner.data().unwrap();
    assert_eq!(db.verify().await.unwrap(), []);
    opened(&db).await.unwrap();

    // What is only slow is said, and opened.
    sick.run(&sick.names.fill("CREATE INDEX slow ON S.member (tenant_id, lower(email))")).await;
    let [warning] = &db.verify().await.unwrap()[..] else { panic!("one finding") };
    assert!(!warning.is_fatal && warning.what.contains("the index slow of table member"), "{warning}");
    opened(&sick.another_process().await.data().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_and_a_type_that_are_declared_may_be_in_the_place() {
    let place = Placement::schema().await;
    let declared = || {
        let tables = cloacina::data::sea_orm::sea_query::Table::create()
            .table("country")
            .col(ColumnDef::new("code").string().not_null().primary_key())
            .col(ColumnDef::new("name").string().not_null())
            .to_owned();
        cloacina::data::Data::builder()
            .reference(crate::model::country::Entity)
            .migration(cloacina::data::Migration::new(1, "countries").create(tables))
            .function("twice")
            .value_type("mood")
            .build()
            .unwrap()
    };
    let runner = place.runner("acme", &declared(), vec![]).await;
    opened(&runner.data().unwrap()).await.unwrap();
    let Placement::Schema(url) = &place else { unreachable!() };
    let owner = connect(url).await;
    let make = |options: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION acme.twice(integer) RETURNS integer {options} LANGUAGE sql AS 'SELECT 2 * $1'"
        )
    };
    owner.batch_execute(&make("")).await.unwrap();
    owner.batch_execute("CREATE TYPE acme.mood AS ENUM ('glad')").await.unwrap();
    opened(&place.runner("acme", &declared(), vec![]).await.data().unwrap()).await.unwrap();
    owner.batch_execute(&make("SECURITY DEFINER")).await.unwrap();
    let again = place.runner("acme", &declared(), vec![]).await;
    assert_says(
        &opened(&again.data().unwrap()).await.unwrap_err(),
        DataErrorKind::Place,
        "acme.twice(integer)",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_table_can_be_read_through_the_table_only() {
    let sick = Sick::new(Placement::shared_on).await;
    let apart = "ALTER TABLE S.letter RENAME TO gone; DROP TABLE S.gone;
        CREATE TABLE S.letter (
            tenant_id uuid NOT NULL DEFAULT nullif(current_setting('cloacina.tenant', true), '')::uuid,
            id uuid NOT NULL, member_id integer NOT NULL, title varchar NOT NULL, sent boolean NOT NULL DEFAULT false,
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, member_id) REFERENCES S.member (tenant_id, id)
        ) PARTITION BY HASH (tenant_id);
        CREATE TABLE S.letter_0 PARTITION OF S.letter FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE S.letter_1 PARTITION OF S.letter FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        ALTER TABLE S.letter ENABLE ROW LEVEL SECURITY; ALTER TABLE S.letter FORCE ROW LEVEL SECURITY;
        CREATE POLICY operator ON S.letter TO cloacina_owner USING (true) WITH CHECK (true);
        CREATE POLICY tenant ON S.letter TO G USING (tenant_id = (SELECT cloacina.entered()))
            WITH CHECK (tenant_id = (SELECT cloacina.entered()));
        CREATE POLICY reader ON S.letter FOR SELECT TO cloacina_reader USING (tenant_id = (SELECT cloacina.reading()));
        GRANT SELECT, DELETE ON S.letter TO G;
        GRANT INSERT (id, member_id, title, sent), UPDATE (id, member_id, title, sent) ON S.letter TO G;
        ALTER TABLE S.letter OWNER TO cloacina_owner; ALTER TABLE S.letter_0 OWNER TO cloacina_owner;
        ALTER TABLE S.letter_1 OWNER TO cloacina_owner";
    sick.run(&sick.names.fill(apart)).await;
    opened(&sick.another_process().await.data().unwrap()).await.unwrap();
    sick.each_is_found(&[
        ("GRANT SELECT ON S.letter_1 TO G", "SELECT on table letter_1 is granted to G", ""),
        (
            "CREATE TABLE public.letter_more (LIKE S.letter); ALTER TABLE S.letter DETACH PARTITION S.letter_1;
             ALTER TABLE S.letter ATTACH PARTITION public.letter_more FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            "public.letter_more inherits from table letter",
            "DROP TABLE public.letter_more; ALTER TABLE S.letter ATTACH PARTITION S.letter_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superuser_in_schemas_of_the_operators_is_a_warning() {
    let place = Placement::Schema(
        Cluster::shared()
            .unwrap()
            .superuser_url_of(&Cluster::shared().unwrap().fresh_database().await.unwrap()),
    );
    let runner = place.runner("acme", &data(), vec![]).await;
    let db = runner.data().unwrap();
    opened(&db).await.unwrap();
    let [warning] = &db.verify().await.unwrap()[..] else { panic!("one finding") };
    assert!(!warning.is_fatal && warning.what.contains("is a superuser"), "{warning}");
}

/// The same in a file. What mends it is written out.
const IN_A_FILE: &[Fault] = &[
    ("CREATE TABLE stray (id integer)", "there is a table that is not declared, `stray`", "DROP TABLE stray"),
    ("CREATE VIRTUAL TABLE stray USING fts5(words)", "there is a virtual table `stray`", "DROP TABLE stray"),
    ("CREATE VIEW members AS SELECT * FROM member", "there is a view `members`", ""),
    (
        "CREATE TRIGGER watching AFTER INSERT ON member BEGIN DELETE FROM letter; END",
        "there is a trigger `watching`",
        "",
    ),
    (
        "CREATE UNIQUE INDEX telling ON member (email)",
        "the unique index `telling` of table `member` is not led by `tenant_id`",
        "DROP INDEX telling",
    ),
    ("ALTER TABLE letter RENAME TO mislaid", "the table `letter` is missing", "ALTER TABLE mislaid RENAME TO letter"),
    (
        "ALTER TABLE member RENAME COLUMN cents TO euros",
        "the table `member` has no column `cents`",
        "ALTER TABLE member RENAME COLUMN euros TO cents",
    ),
    (
        "ALTER TABLE letter RENAME TO kept;
         CREATE TABLE letter (tenant_id blob NOT NULL, id, member_id, title, sent, PRIMARY KEY (tenant_id, id))",
        "the column `tenant_id` of table `letter` does not get the tenant by default",
        "DROP TABLE letter; ALTER TABLE kept RENAME TO letter",
    ),
    (
        "ALTER TABLE letter RENAME TO kept;
         CREATE TABLE letter (tenant_id blob DEFAULT x'00', id, member_id, title, sent)",
        "the table `letter` has no column `tenant_id` that is not null",
        "DROP TABLE letter; ALTER TABLE kept RENAME TO letter",
    ),
    (
        "ALTER TABLE letter RENAME TO kept;
         CREATE TABLE letter (tenant_id blob NOT NULL, id, member_id REFERENCES member (id), title, sent, PRIMARY KEY (tenant_id, id))",
        "a foreign key of table `letter` refers to `member` without the tenant",
        "DROP TABLE letter; ALTER TABLE kept RENAME TO letter",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_of_a_file_is_overlooked() {
    let place = Placement::sqlite();
    opened(&place.runner("acme", &data(), vec![]).await.data().unwrap()).await.unwrap();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    let path = directory.path().join("acme.db");
    let run = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    let is_found = async |words: &str, mend: &dyn Fn(&str)| {
        let runner = place.runner("acme", &data(), vec![]).await;
        let db = runner.data().unwrap();
        let error = opened(&db).await.expect_err(words);
        assert_says(&error, DataErrorKind::Place, words);
        assert_says(&error, DataErrorKind::Place, "tenant `acme`");
        let findings = db.verify().await.unwrap();
        let found = findings.iter().find(|finding| finding.what.contains(words)).expect(words);
        assert!(found.is_fatal && !found.remedy.is_empty());
        mend(&found.remedy);
        assert_eq!(db.verify().await.unwrap(), [], "after `{words}` was mended");
        opened(&db).await.unwrap();
    };
    for (plant, words, mend) in IN_A_FILE {
        run(plant);
        is_found(words, &|remedy| run(if mend.is_empty() { remedy } else { mend })).await;
    }

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o666);
        is_found("can be written by everybody", &|_| mode(0o600)).await;
        let other = directory.path().join("other.db");
        std::fs::hard_link(&path, &other).unwrap();
        is_found("has another name as well", &|_| std::fs::remove_file(&other).unwrap()).await;
    }
}
