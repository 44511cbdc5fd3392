//! A transaction on a tenant's own data, beside the same one by plain SeaORM.

pub(super) mod predicate;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cloacina::Runner;
use cloacina::data::sea_orm::sea_query::{ColumnDef, Expr, Table};
use cloacina::data::sea_orm::{
    self, ActiveValue, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, Statement, TransactionTrait,
};
use cloacina::data::{Data, Migration, TenantDb};
use cloacina::database::DatabaseAdmin;
use cloacina_testing::cluster::Cluster;

use super::scale::Scale;
use crate::database::{Database, Kind};
use crate::sample::{Spread, p50};
use crate::table::{Row, Target};

mod item {
    // What the derives make of it has to be as public as it is.
    #![allow(unreachable_pub)]

    use cloacina::data::sea_orm;
    use cloacina::data::sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "item")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
        pub name: String,
        pub amount: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// How many rows there are before, and how many of them are read at once.
const ROWS: i64 = 1_000;
const READ: i64 = 10;

/// How many statements are run in one transaction to see what one costs.
const STATEMENTS: i64 = 100;

/// One transaction of five statements, and what it is made of.
pub(super) async fn data(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let place = Database::fresh(kind).await?;
    let declared = declared()?;
    let plain = plain(&place).await?;
    let mut ours = vec![("its own file", own(&place, &declared).await?)];
    if kind == Kind::Postgres {
        ours[0].0 = "its own schema";
        ours.push(("shared tables", shared(&declared).await?.0));
    }
    let mut rows = Vec::new();
    for (name, (runner, db)) in ours {
        db.run_as(async |tx| fill(tx).await).await?;
        rows.push(five_statements(name, &db, &plain, scale).await?);
        db.run_as(async |tx| item::Entity::delete_many().filter(item::Column::Id.gte(ROWS)).exec(tx).await)
            .await?;
        item::Entity::delete_many().filter(item::Column::Id.gte(ROWS)).exec(&plain).await?;
        rows.extend(one_by_one(name, &db, &plain, scale).await?);
        runner.shutdown().await?;
    }
    Ok(rows)
}

async fn five_statements(name: &str, db: &TenantDb, plain: &DatabaseConnection, scale: Scale) -> Result<Row> {
    let (mut next, mut other) = (ROWS, ROWS);
    let warm = scale.alone.min(100);
    by_plain(plain, &mut next, warm).await?;
    by_tenant(db, &mut other, warm).await?;
    let mut runs = Vec::new();
    for _ in 0..scale.runs {
        let theirs = p50(&mut by_plain(plain, &mut next, scale.alone).await?);
        runs.push((p50(&mut by_tenant(db, &mut other, scale.alone).await?), theirs));
    }
    let mut row = row(format!("five statements on data in {name}, p50"), &runs);
    row.target = row.ratio.map(|ratio| Target { words: "≤ 1.15 ×".to_owned(), met: ratio.median <= 1.15 });
    Ok(row)
}

/// What the parts cost: a transaction in which nothing is done, a statement whose text was seen before, and
/// one whose text was not.
async fn one_by_one(name: &str, db: &TenantDb, plain: &DatabaseConnection, scale: Scale) -> Result<[Row; 3]> {
    let mut new = 0;
    let (mut empty, mut known, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=scale.runs {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..scale.alone {
            let begun = Instant::now();
            plain.begin().await?.commit().await?;
            theirs.push(begun.elapsed());
            let begun = Instant::now();
            db.run_as(async |_| Ok::<_, DbErr>(())).await?;
            ours.push(begun.elapsed());
        }
        let nothing = (p50(&mut ours), p50(&mut theirs));
        let transaction = plain.begin().await?;
        let theirs = (read_known(&transaction).await?, read_new(&transaction, &mut new).await?);
        transaction.commit().await?;
        let ours = db
            .run_as(async |tx| Ok::<_, DbErr>((read_known(tx).await?, read_new(tx, &mut new).await?)))
            .await?;
        // The first is to warm up.
        if run > 0 {
            empty.push(nothing);
            known.push((ours.0, theirs.0));
            unknown.push((ours.1, theirs.1));
        }
    }
    Ok([
        row(format!("nothing in a transaction on {name}, p50"), &empty),
        row(format!("one statement on {name}, its text known, p50"), &known),
        row(format!("one statement on {name}, its text new, p50"), &unknown),
    ])
}

async fn read_known(connection: &impl ConnectionTrait) -> Result<f64, DbErr> {
    let mut latencies = Vec::new();
    for id in 0..STATEMENTS {
        let begun = Instant::now();
        item::Entity::find_by_id(id).one(connection).await?;
        latencies.push(begun.elapsed());
    }
    Ok(p50(&mut latencies))
}

async fn read_new(connection: &impl ConnectionTrait, number: &mut u64) -> Result<f64, DbErr> {
    let mut latencies = Vec::new();
    for id in 0..STATEMENTS {
        *number += 1;
        let text = format!(
            r#"SELECT "item"."id", "item"."name", "item"."amount" AS "amount{number}" FROM "item" WHERE "item"."id" = {id} LIMIT 1"#
        );
        let statement = Statement::from_string(connection.get_database_backend(), text);
        let begun = Instant::now();
        connection.query_one_raw(statement).await?;
        latencies.push(begun.elapsed());
    }
    Ok(p50(&mut latencies))
}

/// What both took, run by run: ours and theirs.
fn row(title: String, runs: &[(f64, f64)]) -> Row {
    Row {
        engine: Spread::of(runs.iter().map(|run| run.0)),
        hand: Spread::of(runs.iter().map(|run| run.1)),
        ratio: Spread::of(runs.iter().map(|run| run.0 / run.1)),
        ..Row::new(title, "µs")
    }
}

fn table() -> sea_orm::sea_query::TableCreateStatement {
    Table::create()
        .table("item")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("name").string().not_null())
        .col(ColumnDef::new("amount").big_integer().not_null())
        .to_owned()
}

fn declared() -> Result<Data> {
    Ok(Data::builder().tenant(item::Entity).migration(Migration::new(1, "items").create(table())).build()?)
}

async fn plain(place: &Database) -> Result<DatabaseConnection> {
    let url = match place {
        Database::Sqlite { directory } => {
            format!("sqlite://{}/plain.db?mode=rwc", directory.path().display())
        }
        Database::Postgres { url } => url.clone(),
    };
    let mut options = sea_orm::ConnectOptions::new(url);
    options.sqlx_logging(false).max_connections(1);
    let plain = sea_orm::Database::connect(options).await?;
    if let Database::Sqlite { .. } = place {
        plain.execute_unprepared("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL").await?;
    }
    plain.execute(&table()).await?;
    fill(&plain).await?;
    Ok(plain)
}

async fn own(place: &Database, declared: &Data) -> Result<(Runner, TenantDb)> {
    let builder = Runner::builder().data(declared);
    let builder = match place {
        Database::Sqlite { directory } => {
            builder.database_url(format!("sqlite://{}/tenant.db", directory.path().display()))
        }
        Database::Postgres { url } => builder.database_url(url).schema("tenant"),
    };
    let runner = builder.build().await?;
    let db = runner.data()?;
    Ok((runner, db))
}

/// One that shares tables, and the administrator's URL.
async fn shared(declared: &Data) -> Result<((Runner, TenantDb), String)> {
    let cluster = Cluster::shared()?;
    let admin_url = cluster.fresh_database().await?;
    cluster.make_administrator(&admin_url).await?;
    let database = admin_url.rsplit('/').next().context("the URL has no database")?;
    let admin = DatabaseAdmin::new(cloacina::database::Database::new(&admin_url, database, 1));
    admin.create_shared_tenant("tenant").await?;
    let app = admin.create_app_login(&format!("app_{database}"), String::new()).await?;
    let url = cluster.ordinary_login(&admin_url).await?;
    let login =
        url.split("://").nth(1).and_then(|rest| rest.split(':').next()).context("the URL has no login")?;
    admin.allow_operator(login).await?;
    declared.migrate_shared(&admin_url).await?;
    let data = declared.app_login(&app.username, &app.password);
    let runner = Runner::builder().database_url(&url).tenant("tenant").data(&data).build().await?;
    let db = runner.data()?;
    Ok(((runner, db), admin_url))
}

async fn fill(connection: &impl ConnectionTrait) -> Result<(), DbErr> {
    let items = (0..ROWS).map(new_item);
    item::Entity::insert_many(items).exec_without_returning(connection).await.map(drop)
}

fn new_item(id: i64) -> item::ActiveModel {
    item::ActiveModel {
        id: ActiveValue::Set(id),
        name: ActiveValue::Set(format!("item {id}")),
        amount: ActiveValue::Set(id % 7),
    }
}

/// What both do in a transaction.
async fn work(connection: &impl ConnectionTrait, id: i64) -> Result<(), DbErr> {
    item::Entity::insert(new_item(id)).exec_without_returning(connection).await?;
    let found = item::Entity::find_by_id(id % ROWS).one(connection).await?;
    let amount = found.map_or(0, |found| found.amount);
    item::Entity::update_many()
        .col_expr(item::Column::Amount, Expr::value(amount + 1))
        .filter(item::Column::Id.eq(id % ROWS))
        .exec(connection)
        .await?;
    let some = item::Entity::find()
        .filter(item::Column::Id.between(id % ROWS, id % ROWS + READ))
        .all(connection)
        .await?;
    let count = item::Entity::find().filter(item::Column::Id.between(0, READ)).count(connection).await?;
    assert!(!some.is_empty() && count > 0, "what was written is read");
    Ok(())
}

async fn by_plain(plain: &DatabaseConnection, next: &mut i64, times: usize) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        let transaction = plain.begin().await?;
        work(&transaction, *next).await?;
        transaction.commit().await?;
        latencies.push(begun.elapsed());
        *next += 1;
    }
    Ok(latencies)
}

async fn by_tenant(db: &TenantDb, next: &mut i64, times: usize) -> Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        let id = *next;
        db.run_as(async |tx| work(tx, id).await).await?;
        latencies.push(begun.elapsed());
        *next += 1;
    }
    Ok(latencies)
}
