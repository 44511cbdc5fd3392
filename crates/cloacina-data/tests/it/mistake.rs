//! Declarations that cannot work, places that cannot be used, and what is said about them: whose, what, and
//! what to do.

// What the derives of SeaORM make of them has to be as public as they are.
#![allow(unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use cloacina::data::sea_orm::ActiveValue::Set;
use cloacina::data::sea_orm::sea_query::{
    ColumnDef, Expr, ForeignKey, ForeignKeyAction, Index, IntoIndexColumn, Query, Table, TableCreateStatement,
};
use cloacina::data::sea_orm::{EntityTrait, PaginatorTrait};
use cloacina::data::{
    CredentialSource, Data, DataBuilder, DataError, DataErrorKind, Migration, TenantDb, TenantLogin,
    TenantTx, sea_orm,
};
use cloacina::database::{Database, DatabaseAdmin, TenantConfig};
use cloacina::runner::{Runner, RunnerConfig};
use cloacina::{Context, ExecutionStatus, RetryPolicy, Task, Workflow, task};
use cloacina_testing::cluster::Cluster;
use cloacina_testing::proxy::{Cut, Proxy};
use uuid::Uuid;

use crate::ledger::{self, connect, entry, paying};
use crate::model::{country, member, new_member};
use crate::support::{PATIENCE, Placement, assert_says, in_files_and_schemas};

/// An entity of this table, with these columns.
macro_rules! entity {
    ($module:ident, $table:literal, $($column:ident),*) => {
        mod $module {
            use cloacina::data::sea_orm;
            use cloacina::data::sea_orm::entity::prelude::*;

            #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                #[sea_orm(primary_key, auto_increment = false)]
                pub id: i32,
                $(pub $column: i32,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}

            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

entity!(owned, "owned", tenant_id);
entity!(engines, "task_executions",);
entity!(ours, "cloacina_things",);
entity!(catalog, "pg_things",);
entity!(spaced, "two words",);
entity!(note, "note", other);

/// A table `note` with what is added to it.
fn notes(add: impl FnOnce(&mut TableCreateStatement)) -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table("note")
        .col(ColumnDef::new("id").integer().not_null().primary_key())
        .col(ColumnDef::new("other").integer().not_null());
    add(&mut table);
    table
}

fn note_with(add: impl FnOnce(&mut TableCreateStatement)) -> DataBuilder {
    Data::builder()
        .tenant(note::Entity)
        .tenant(member::Entity)
        .migration(Migration::new(1, "notes").create(notes(add)))
}

fn key(action: ForeignKeyAction) -> impl FnOnce(&mut TableCreateStatement) {
    move |table| {
        table.foreign_key(ForeignKey::create().from("note", "other").to("member", "id").on_delete(action));
    }
}

#[test]
fn a_declaration_that_cannot_work_says_what_to_do() {
    let reference = Data::builder().reference(note::Entity).tenant(member::Entity);
    let change = |change: Migration| Data::builder().tenant(note::Entity).migration(change);
    let cases: Vec<(DataBuilder, &[&str])> = vec![
        (Data::builder().tenant(owned::Entity), &["`owned`", "`tenant_id`", "leave it out"]),
        (Data::builder().tenant(engines::Entity), &["`task_executions`", "are taken"]),
        (Data::builder().tenant(ours::Entity), &["`cloacina_things`", "are taken"]),
        (Data::builder().tenant(catalog::Entity), &["`pg_things`", "are taken"]),
        (Data::builder().tenant(spaced::Entity), &["`two words`", "use 1 to 63 ASCII letters"]),
        (
            Data::builder().tenant(note::Entity).reference(note::Entity),
            &["`note` is declared twice", "leave one"],
        ),
        (change(Migration::new(2, "first")), &["`first` has number 2", "number 1 is expected", "1, 2, 3"]),
        (
            change(Migration::new(1, "first")).migration(Migration::new(3, "third")),
            &["`third` has number 3", "number 2 is expected"],
        ),
        (
            note_with(key(ForeignKeyAction::SetNull)),
            &["migration 1 (`notes`)", "`note` to `member`", "use CASCADE"],
        ),
        (note_with(key(ForeignKeyAction::SetDefault)), &["migration 1 (`notes`)", "use CASCADE"]),
        (
            reference.migration(Migration::new(1, "notes").create(notes(key(ForeignKeyAction::Cascade)))),
            &["reference table `note`", "`member`", "leave the foreign key out"],
        ),
        (
            note_with(|table| {
                table.col(ColumnDef::new("more").integer().extra("REFERENCES member (id)"));
            }),
            &["column `more`", "REFERENCES", "leave it out"],
        ),
        (
            note_with(|table| {
                table.extra("WITHOUT ROWID");
            }),
            &["table `note`", "WITHOUT ROWID", "leave it out"],
        ),
        (
            note_with(|table| {
                table.index(Index::create().unique().col(Expr::cust("lower(other)").into_index_column()));
            }),
            &["index over an expression", "index columns"],
        ),
        (
            note_with(|table| {
                table.col(ColumnDef::new("Tenant_Id").integer());
            }),
            &["column `Tenant_Id`", "cannot be written or changed by hand"],
        ),
        (
            change(Migration::new(1, "notes").create(
                Table::create().table("note").col(ColumnDef::new("id").integer().not_null()).to_owned(),
            )),
            &["`note` has no primary key", "give it one"],
        ),
        (change(Migration::new(1, "drop").drop_column("note", "tenant_id")), &["`tenant_id`", "by hand"]),
        (change(Migration::new(1, "index").index("note", ["tenant_id"])), &["`tenant_id`", "by hand"]),
        (
            change(Migration::new(1, "index").index("note", [""; 0])),
            &["`note` has no columns", "at least one"],
        ),
        (
            change(Migration::new(1, "index").index("other", ["id"])),
            &["`other` is not declared", ".tenant(…)"],
        ),
        (
            change(Migration::new(1, "drop").drop_table("task_executions")),
            &["`task_executions`", "are taken"],
        ),
        (change(Migration::new(1, "drop").drop_table("cloacina_place")), &["`cloacina_place`", "are taken"]),
        (
            change(
                Migration::new(1, "add")
                    .add_column("note", ColumnDef::new("x").integer().unique_key().to_owned()),
            ),
            &["column `x` is added with a key", "`unique` index"],
        ),
    ];
    for (builder, words) in cases {
        let error = builder.build().map(drop).expect_err(&format!("{words:?}"));
        for words in words {
            assert_says(&error, DataErrorKind::Configuration, words);
        }
    }
}

fn first() -> Migration {
    Migration::new(1, "notes").create(notes(|_| {}))
}

fn declared(builder: DataBuilder, migrations: impl IntoIterator<Item = Migration>) -> Data {
    migrations.into_iter().fold(builder, DataBuilder::migration).build().unwrap()
}

/// Uses the data for the first time.
async fn opened(db: &TenantDb) -> Result<u64, DataError> {
    db.read_as(async |tx| note::Entity::find().count(tx).await.map_err(DataError::from)).await
}

in_files_and_schemas! {
    async fn a_place_that_a_newer_program_changed_is_not_touched(place: Placement) {
        let notes = || Data::builder().tenant(note::Entity);
        let more = Migration::new(2, "more").index("note", ["other"]);
        let newer = place.runner("acme", &declared(notes(), [first(), more]), vec![]).await;
        opened(&newer.data().unwrap()).await.unwrap();
        newer.shutdown().await.unwrap();
        let older = place.runner("acme", &declared(notes(), [first()]), vec![]).await;
        let error = opened(&older.data().unwrap()).await.unwrap_err();
        assert_says(&error, DataErrorKind::Place, "tenant `acme`: its tables were changed by a newer program, by migration 2");
        assert_says(&error, DataErrorKind::Place, "use the newer program");
        older.shutdown().await.unwrap();
    }

    async fn a_migration_that_fails_half_way_leaves_nothing_and_names_itself(place: Placement) {
        let countries = || {
            Table::create()
                .table("country")
                .col(ColumnDef::new("code").string().not_null().primary_key())
                .col(ColumnDef::new("name").string().not_null())
                .to_owned()
        };
        let fill = |codes: [&str; 2]| {
            let mut rows = Query::insert();
            rows.into_table("country").columns(["code", "name"]);
            for code in codes {
                rows.values_panic([code.into(), code.into()]);
            }
            rows
        };
        let both = || Data::builder().tenant(note::Entity).reference(country::Entity);
        let wrong = declared(both(), [first(), Migration::new(2, "countries").create(countries()).fill(fill(["it", "it"]))]);
        let runner = place.runner("acme", &wrong, vec![]).await;
        for _ in 0..2 {
            let error = opened(&runner.data().unwrap()).await.unwrap_err();
            assert_says(&error, DataErrorKind::Database, "tenant `acme`: failed to apply migration 2 (`countries`)");
            assert_says(&error, DataErrorKind::Database, "stay as they were; correct the migration");
        }
        runner.shutdown().await.unwrap();
        let right = declared(both(), [first(), Migration::new(2, "countries").create(countries()).fill(fill(["it", "fr"]))]);
        let runner = place.runner("acme", &right, vec![]).await;
        opened(&runner.data().unwrap()).await.unwrap();
        let count = runner.data().unwrap().read_as(async |tx| country::Entity::find().count(tx).await).await;
        assert_eq!(count.unwrap(), 2);
        runner.shutdown().await.unwrap();
    }

    async fn a_place_that_is_gone_is_named_and_the_others_go_on(place: Placement) {
        let data = crate::model::data();
        let two = place.two(&data).await;
        for db in [&two.acme, &two.globex] {
            db.run_as(async |tx| member::Entity::insert(new_member("anna", "anna")).exec(tx).await).await.unwrap();
        }
        match &place {
            Placement::Sqlite(directory) => std::fs::remove_file(directory.path().join("acme.db")).unwrap(),
            Placement::Schema(url) => connect(url, "acme").await.batch_execute("DROP SCHEMA acme CASCADE").await.unwrap(),
            _ => unreachable!("only files and schemas are looked at"),
        }
        let ended = two.acme.run_as(async |tx| member::Entity::find().count(tx).await.map_err(DataError::from)).await;
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), DataErrorKind::Place, "{error}");
        let count = two.globex.run_as(async |tx| member::Entity::find().count(tx).await).await;
        assert_eq!(count.unwrap(), 1);
    }

    async fn a_task_that_asks_a_runner_without_data_fails_and_says_how_to_give_it(place: Placement) {
        let config = RunnerConfig::builder().workflow(paying(asks.definition().retry(RetryPolicy::NEVER)));
        let config = config.workflow(Workflow::builder("asking").task(asks_for_a_handle.definition()).build()).build();
        let builder = Runner::builder().config(config);
        let builder = match &place {
            Placement::Sqlite(directory) => builder.database_url(format!("sqlite://{}/acme.db", directory.path().display())),
            Placement::Schema(url) => builder.database_url(url).schema("acme"),
            _ => unreachable!("only files and schemas are looked at"),
        };
        let runner = builder.build().await.unwrap();
        assert_says(&runner.data().unwrap_err(), DataErrorKind::Configuration, "`acme` was opened without any");
        for (workflow, task) in [("paying", "asks"), ("asking", "asks_for_a_handle")] {
            let result = runner.execute(workflow, Context::new()).await.unwrap();
            assert_eq!(result.status, ExecutionStatus::Failed);
            // It is no use to try again.
            assert_eq!(result.task_results[0].attempts, 1);
            let message = result.error_message.unwrap();
            let says = [&format!("task `{task}` of tenant `acme`"), "opened without any", "`.data(&data)`"];
            assert!(says.iter().all(|words| message.contains(words)), "{message}");
        }
        runner.shutdown().await.unwrap();
    }
}

#[task]
async fn asks(_context: &mut Context, _tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    Ok(())
}

#[task]
async fn asks_for_a_handle(_context: &mut Context, _db: TenantDb) -> Result<(), sea_orm::DbErr> {
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_replaced_by_another_tenants_is_neither_read_nor_written() {
    let place = Placement::sqlite();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    let two = place.two(&crate::model::data()).await;
    for db in [&two.acme, &two.globex] {
        db.run_as(async |tx| member::Entity::insert(new_member("anna", db.tenant())).exec(tx).await)
            .await
            .unwrap();
    }
    let copy = rusqlite::Connection::open(directory.path().join("globex.db")).unwrap();
    let replacement = directory.path().join("replacement");
    copy.execute("VACUUM INTO ?", [replacement.to_str().unwrap()]).unwrap();
    for file in ["acme.db-wal", "acme.db-shm"] {
        drop(std::fs::remove_file(directory.path().join(file)));
    }
    std::fs::rename(&replacement, directory.path().join("acme.db")).unwrap();
    for _ in 0..3 {
        let ended =
            two.acme.run_as(async |tx| member::Entity::find().all(tx).await.map_err(DataError::from)).await;
        assert_says(&ended.unwrap_err(), DataErrorKind::Place, "replaced");
    }
}

/// What is written to a log that was deleted is gone with the last connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_log_is_noticed_before_anything_is_written_and_what_was_in_it_is_kept() {
    let place = Placement::sqlite();
    let Placement::Sqlite(directory) = &place else { unreachable!() };
    let two = place.two(&crate::model::data()).await;
    let db = &two.acme;
    let insert = async |name| {
        db.run_as(async |tx| member::Entity::insert(new_member(name, db.tenant())).exec(tx).await).await
    };
    insert("anna").await.unwrap();
    std::fs::remove_file(directory.path().join("acme.db-wal")).unwrap();
    let ended = insert("bert").await.map(drop).map_err(DataError::from);
    assert_says(&ended.unwrap_err(), DataErrorKind::Place, "acme.db-wal was deleted or replaced");
    // As if the process had died.
    let copy = directory.path().join("copy.db");
    std::fs::copy(directory.path().join("acme.db"), &copy).unwrap();
    let kept = rusqlite::Connection::open(copy).unwrap();
    let members: i64 = kept.query_row("SELECT count(*) FROM member", [], |row| row.get(0)).unwrap();
    assert_eq!(members, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_memory_has_no_data_and_says_so_when_it_is_opened() {
    let built = Runner::builder().database_url("sqlite::memory:").data(&ledger::data()).build().await;
    let error = built.map(drop).unwrap_err().to_string();
    assert!(error.contains("in memory") && error.contains("use a file"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_said_to_be_and_comes_back() {
    let cluster = Cluster::start().unwrap();
    let url = cluster.fresh_database().await.unwrap();
    let away = Placement::Schema(url).runner("acme", &ledger::data(), vec![]).await;
    let elsewhere = Placement::sqlite();
    let other = elsewhere.runner("globex", &ledger::data(), vec![]).await;
    let count = async |runner: &Runner| {
        let db = runner.data().unwrap();
        db.read_as(async |tx| entry::Entity::find().count(tx).await.map_err(DataError::from)).await
    };
    assert_eq!(count(&away).await.unwrap(), 0);
    cluster.stop().unwrap();
    let error = count(&away).await.unwrap_err();
    assert_says(&error, DataErrorKind::Unavailable, "tenant `acme`");
    assert_eq!(count(&other).await.unwrap(), 0);
    cluster.restart().unwrap();
    assert_eq!(count(&away).await.unwrap(), 0);
    away.shutdown().await.unwrap();
    other.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_broke_while_nobody_used_them_cost_no_attempt() {
    let cluster = Cluster::start().unwrap();
    let url = cluster.fresh_database().await.unwrap();
    let config =
        RunnerConfig::builder().workflow(paying(asks.definition().retry(RetryPolicy::NEVER))).build();
    let runner = Placement::Schema(url).with("acme", &ledger::data(), config).await;
    let db = runner.data().unwrap();
    // As many as there may be.
    let barrier = Arc::new(tokio::sync::Barrier::new(5));
    let readers: Vec<_> = (0..5)
        .map(|_| {
            let (db, barrier) = (db.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                db.read_as(async |tx| {
                    entry::Entity::find().count(tx).await?;
                    barrier.wait().await;
                    Ok::<_, DataError>(())
                })
                .await
            })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    cluster.restart().unwrap();
    let result = runner.execute("paying", Context::new()).await.unwrap();
    assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
    runner.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_said_to_be_unknown() {
    let placement = Placement::schema().await;
    let Placement::Schema(url) = &placement else { unreachable!() };
    let proxy = Proxy::start(url).await.unwrap();
    let config = RunnerConfig::builder()
        .submit_only(true)
        .lease(Duration::from_secs(600))
        .heartbeat_interval(Duration::from_secs(60));
    let runner =
        Placement::Schema(proxy.url().to_owned()).with("acme", &ledger::data(), config.build()).await;
    let db = runner.data().unwrap();
    let enter = async || {
        let row =
            entry::ActiveModel { execution: Set(Uuid::now_v7()), attempt: Set(1), ..Default::default() };
        db.run_as(async |tx| {
            entry::Entity::insert(row).exec_without_returning(tx).await.map(drop).map_err(DataError::from)
        })
        .await
    };
    enter().await.unwrap();
    for cut in [Cut::BeforeCommit, Cut::BeforeReply] {
        proxy.cut_at_commit(1, cut);
        assert_says(&enter().await.unwrap_err(), DataErrorKind::Unknown, "tenant `acme`: failed to commit");
    }
    // The first was not written, the second was.
    let rows = db.read_as(async |tx| entry::Entity::find().count(tx).await).await.unwrap();
    assert_eq!(rows, 2);
    runner.shutdown().await.unwrap();
}

/// A tenant with a login of its own, as the operator's runner and its own see it.
/// A source that knows one login.
struct Known(TenantLogin);

impl CredentialSource for Known {
    async fn login(&self, _tenant: &str) -> Result<TenantLogin, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.clone())
    }
}

struct Managed {
    admin: DatabaseAdmin,
    username: String,
    operator: Runner,
    own: Runner,
}

impl Managed {
    async fn new() -> Self {
        let server = Cluster::shared().unwrap();
        let url = server.superuser_url_of(&server.fresh_database().await.unwrap());
        let database = url.rsplit_once('/').unwrap().1.split('?').next().unwrap();
        let admin = DatabaseAdmin::new(Database::new(&url, database, 4));
        let username = format!("{database}_acme");
        let config =
            TenantConfig { schema_name: "acme".into(), username: username.clone(), password: String::new() };
        let login = admin.create_tenant(config).await.unwrap();
        let data = crate::model::data();
        data.migrate_tenants(&url).await.unwrap();
        let operator = data.credentials(Known(TenantLogin::new(&login.username, &login.password)));
        let operator = Placement::Schema(url).runner("acme", &operator, vec![]).await;
        used(&operator).await.unwrap();
        let own = Runner::builder().database_url(login.connection_string).data(&crate::model::data());
        let own = own.build().await.unwrap();
        Self { admin, username, operator, own }
    }
}

async fn used(runner: &Runner) -> Result<u64, DataError> {
    let db = runner.data()?;
    db.run_as(async |tx| member::Entity::find().count(tx).await.map_err(DataError::from)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_is_suspended_or_removed_while_its_data_is_used_is_named() {
    let managed = Managed::new().await;
    managed.admin.suspend("acme").await.unwrap();
    let error = used(&managed.own).await.unwrap_err();
    assert!(error.to_string().contains("tenant `acme`: failed to"), "{error}");
    assert_says(
        &used(&managed.operator).await.unwrap_err(),
        DataErrorKind::Place,
        "tenant `acme`: failed to",
    );
    managed.admin.resume("acme").await.unwrap();
    assert_eq!(used(&managed.operator).await.unwrap(), 0);
    let removal = managed.admin.remove_tenant("acme", &managed.username);
    tokio::time::timeout(PATIENCE, removal).await.unwrap().unwrap();
    let error = used(&managed.own).await.unwrap_err();
    assert_says(&error, DataErrorKind::Place, "tenant `acme`: failed to");
    assert_eq!(used(&managed.operator).await.unwrap_err().kind(), DataErrorKind::Place);
    // Its place is gone, and so nothing can be written down any more.
    drop(tokio::time::timeout(Duration::from_secs(5), managed.own.shutdown()).await);
}
