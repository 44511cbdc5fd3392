//! A transaction on a tenant's own data, beside the same one by plain SeaORM.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use cloacina::DefaultRunner;
use cloacina::data::sea_orm::sea_query::{ColumnDef, Expr, Table};
use cloacina::data::sea_orm::{
    self, ActiveValue, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, TransactionTrait,
};
use cloacina::data::{Data, Migration, TenantDb};
use cloacina::database::DatabaseAdmin;
use cloacina_testing::cluster::Cluster;

use super::Scale;
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

/// One transaction of five statements.
pub(super) async fn data(kind: Kind, scale: Scale) -> Result<Vec<Row>> {
    let place = Database::fresh(kind).await?;
    let plain = plain(&place).await?;
    let mut ours = vec![("its own file", own(&place).await?)];
    if kind == Kind::Postgres {
        ours[0].0 = "its own schema";
        ours.push(("shared tables", shared().await?));
    }
    let mut rows = Vec::new();
    for (name, (runner, db)) in ours {
        let mut next = ROWS;
        let warm = scale.alone.min(100);
        by_plain(&plain, &mut next, warm).await?;
        let mut other = ROWS;
        by_tenant(&db, &mut other, warm).await?;
        let mut runs = Vec::new();
        for _ in 0..scale.runs {
            let theirs = p50(&mut by_plain(&plain, &mut next, scale.alone).await?);
            runs.push((p50(&mut by_tenant(&db, &mut other, scale.alone).await?), theirs));
        }
        db.run(async |tx| item::Entity::delete_many().filter(item::Column::Id.gte(0)).exec(tx).await).await?;
        item::Entity::delete_many().filter(item::Column::Id.gte(ROWS)).exec(&plain).await?;
        let ratio = Spread::of(runs.iter().map(|run| run.0 / run.1));
        rows.push(Row {
            engine: Spread::of(runs.iter().map(|run| run.0)),
            hand: Spread::of(runs.iter().map(|run| run.1)),
            target: ratio.map(|ratio| Target { words: "≤ 1.15 ×".to_owned(), met: ratio.median <= 1.15 }),
            ratio,
            ..Row::new(format!("five statements on data in {name}, p50"), "µs")
        });
        runner.shutdown().await?;
    }
    Ok(rows)
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

async fn own(place: &Database) -> Result<(DefaultRunner, TenantDb)> {
    let builder = DefaultRunner::builder().data(&declared()?);
    let builder = match place {
        Database::Sqlite { directory } => {
            builder.database_url(format!("sqlite://{}/tenant.db", directory.path().display()))
        }
        Database::Postgres { url } => builder.database_url(url).schema("tenant"),
    };
    filled(builder.build().await?).await
}

async fn shared() -> Result<(DefaultRunner, TenantDb)> {
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
    let data = declared()?;
    data.migrate_shared(&admin_url).await?;
    let data = data.app_login(&app.username, &app.password);
    filled(DefaultRunner::builder().database_url(&url).tenant("tenant").data(&data).build().await?).await
}

async fn filled(runner: DefaultRunner) -> Result<(DefaultRunner, TenantDb)> {
    let db = runner.data()?;
    db.run(async |tx| fill(tx).await).await?;
    Ok((runner, db))
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
        db.run(async |tx| work(tx, id).await).await?;
        latencies.push(begun.elapsed());
        *next += 1;
    }
    Ok(latencies)
}
