//! Conditions on a tenant of many rows: which of them find an index where row security is in between.
//!
//! PostgreSQL looks at the tenant before it calls an operator that might tell what it was given (one that is
//! not `LEAKPROOF`), so such a condition is compared with all rows of the tenant.

use std::time::Instant;

use anyhow::Result;
use cloacina::data::sea_orm::sea_query::extension::postgres::PgExpr;
use cloacina::data::sea_orm::sea_query::{ColumnDef, Expr, ExprTrait as _, Func, SimpleExpr, Table};
use cloacina::data::sea_orm::{
    self, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait, QueryFilter,
};
use cloacina::data::{Data, Migration};
use cloacina_testing::cluster::Cluster;

use super::{item, own, row, shared};
use crate::database::{Database, Kind};
use crate::hand::postgres::connect;
use crate::measure::Scale;
use crate::sample::p50;
use crate::table::Row;

/// The rows of the tenant; others have as many in the same tables.
const ROWS: i64 = 100_000;

/// What makes the rows, after the columns that say whose they are.
const MADE: &str =
    "i, 'item ' || i, i % 10000, (i % 10000)::numeric / 10, jsonb_build_object('sort', i % 10000)";
const COLUMNS: &str = "id, name, amount, price, tags";

pub(in crate::measure) async fn predicates(scale: Scale) -> Result<Vec<Row>> {
    let table = Table::create()
        .table("item")
        .col(ColumnDef::new("id").big_integer().not_null().primary_key())
        .col(ColumnDef::new("name").text().not_null())
        .col(ColumnDef::new("amount").big_integer().not_null())
        .col(ColumnDef::new("price").decimal().null())
        .col(ColumnDef::new("tags").json_binary().null())
        .to_owned();
    let place = Database::fresh(Kind::Postgres).await?;
    let Database::Postgres { url } = &place else { return Ok(Vec::new()) };
    let plain = sea_orm::Database::connect(
        sea_orm::ConnectOptions::new(url.clone()).sqlx_logging(false).max_connections(1).to_owned(),
    )
    .await?;
    plain.execute(&table).await?;
    let fill = format!("INSERT INTO item ({COLUMNS}) SELECT {MADE} FROM generate_series(1, {ROWS}) AS i;");
    connect(url).await?.batch_execute(&format!("{fill} {}", indexes("item", ""))).await?;

    let declared =
        Data::builder().tenant(item::Entity).migration(Migration::new(1, "item").create(table)).build()?;
    let ((own_runner, own_db), (shared, admin_url)) =
        (own(&place, &declared).await?, shared(&declared).await?);
    let (shared_runner, shared_db) = shared;
    let superuser = Cluster::shared()?.superuser_url_of(&admin_url);
    let mut rows = Vec::new();
    for (name, db, schema, url) in [
        ("its own schema", own_db, "tenant", url),
        ("shared tables", shared_db, "cloacina_shared", &superuser),
    ] {
        // The place is looked at before the rows are there, as they are made by hand.
        db.run_as(async |_| Ok::<_, DbErr>(())).await?;
        let table = format!("{schema}.item");
        let of = "(SELECT tenant_id FROM cloacina.tenant WHERE name = 'tenant')";
        let mut fill = format!(
            "INSERT INTO {table} (tenant_id, {COLUMNS}) SELECT {of}, {MADE} FROM generate_series(1, {ROWS}) AS i;"
        );
        if schema == "cloacina_shared" {
            fill.push_str(&format!(
                "INSERT INTO {table} (tenant_id, {COLUMNS}) \
                 SELECT md5((i / 1000)::text)::uuid, {MADE} FROM generate_series(1, {ROWS}) AS i;"
            ));
        }
        connect(url).await?.batch_execute(&format!("{fill} {}", indexes(&table, "tenant_id, "))).await?;
        for (what, condition) in conditions() {
            let mut runs = Vec::new();
            let once = (scale.alone / 10).max(10);
            for _ in 0..scale.runs {
                let theirs = by_plain(&plain, &condition, once).await?;
                let mut latencies = Vec::new();
                for _ in 0..once {
                    let begun = Instant::now();
                    let found = db.run_as(async |tx| find(tx, &condition).await).await?;
                    latencies.push(begun.elapsed());
                    assert!(!found.is_empty(), "{what} finds something");
                }
                runs.push((p50(&mut latencies), theirs));
            }
            rows.push(row(format!("{what}, {ROWS} rows in {name}, p50"), &runs));
        }
    }
    own_runner.shutdown().await?;
    shared_runner.shutdown().await?;
    Ok(rows)
}

fn indexes(table: &str, lead: &str) -> String {
    format!(
        "CREATE INDEX ON {table} ({lead}amount); CREATE INDEX ON {table} ({lead}price); \
         CREATE INDEX ON {table} ({lead}name text_pattern_ops); CREATE INDEX ON {table} ({lead}lower(name)); \
         CREATE INDEX ON {table} USING gin (tags jsonb_path_ops); ANALYZE {table}"
    )
}

fn conditions() -> [(&'static str, SimpleExpr); 5] {
    let cast = |text: &str, kind: &'static str| Expr::val(text).cast_as(kind);
    [
        ("bigint BETWEEN", item::Column::Amount.between(777, 778)),
        ("numeric BETWEEN", Expr::col("price").between(cast("77.7", "numeric"), cast("77.8", "numeric"))),
        ("LIKE with a prefix", item::Column::Name.like("item 7777%")),
        ("an expression", Expr::expr(Func::lower(Expr::col("name"))).eq("item 7777")),
        ("JSONB @>", Expr::col("tags").contains(cast(r#"{"sort": 777}"#, "jsonb"))),
    ]
}

async fn find(connection: &impl ConnectionTrait, condition: &SimpleExpr) -> Result<Vec<item::Model>, DbErr> {
    item::Entity::find().filter(condition.clone()).all(connection).await
}

async fn by_plain(plain: &DatabaseConnection, condition: &SimpleExpr, times: usize) -> Result<f64> {
    use cloacina::data::sea_orm::TransactionTrait;
    let mut latencies = Vec::new();
    for _ in 0..times {
        let begun = Instant::now();
        let transaction = plain.begin().await?;
        let found = find(&transaction, condition).await?;
        transaction.commit().await?;
        latencies.push(begun.elapsed());
        assert!(!found.is_empty(), "what is there is found");
    }
    Ok(p50(&mut latencies))
}
