//! What is counted of each tenant.

use std::time::Duration;

use cloacina::data::sea_orm::{EntityTrait, PaginatorTrait, StreamTrait};
use cloacina::data::{DataError, TenantTx, sea_orm};
use cloacina::{Context, Task, task};
use futures_util::StreamExt as _;

use crate::model::{data, member, new_member};
use crate::support::{in_each_placement, in_files_and_schemas, workflow};

#[task(id = "join")]
async fn join(_context: &mut Context, tx: &TenantTx) -> Result<(), sea_orm::DbErr> {
    member::Entity::insert(new_member("task", "task")).exec(tx).await.map(drop)
}

in_each_placement! {
    async fn what_a_tenant_does_is_counted_for_it_alone(place: Placement) {
        let two = place.two(&data()).await;
        assert_eq!(two.acme.metrics(), Default::default());
        let names = ["anna", "bea", "carla"];
        two.acme
            .run_as(async |tx| {
                member::Entity::insert_many(names.map(|name| new_member(name, name))).exec(tx).await?;
                assert_eq!(two.acme.metrics().open_transactions, 1);
                member::Entity::find().all(tx).await.map(drop)
            })
            .await
            .unwrap();
        let counted = two.acme.metrics();
        assert_eq!((counted.open_transactions, counted.committed, counted.rolled_back), (0, 1, 0));
        assert_eq!((counted.statements, counted.refused, counted.failed), (2, 0, 0));
        // PostgreSQL's INSERT says which rows it made, SQLite's how many.
        assert_eq!(counted.rows, 6);
        assert!(counted.statement_time > Duration::ZERO && counted.begin_time > Duration::ZERO);
        assert_eq!(two.globex.metrics(), Default::default());
    }

    async fn what_goes_wrong_is_counted(place: Placement) {
        let two = place.two(&data()).await;
        let insert = async |tx: &TenantTx| member::Entity::insert(new_member("anna", "anna")).exec(tx).await;
        two.acme.run_as(async |tx| insert(tx).await).await.unwrap();
        two.acme.run_as(async |tx| insert(tx).await).await.unwrap_err();
        let refused = async |tx: &TenantTx| {
            sea_orm::ConnectionTrait::execute_unprepared(tx, "DROP TABLE member").await
        };
        two.acme.run_as(async |tx| refused(tx).await).await.unwrap_err();
        {
            let mut dropped = Box::pin(two.acme.run_as(async |tx| {
                member::Entity::find().count(tx).await?;
                std::future::pending::<Result<(), DataError>>().await
            }));
            while two.acme.metrics().statements < 2 {
                assert!(futures_util::poll!(dropped.as_mut()).is_pending());
                tokio::task::yield_now().await;
            }
        }
        let counted = two.acme.metrics();
        assert_eq!((counted.open_transactions, counted.committed, counted.rolled_back), (0, 1, 3));
        assert_eq!((counted.statements, counted.refused, counted.failed), (2, 1, 1));
    }

    async fn a_stream_counts_the_rows_that_were_read(place: Placement) {
        let two = place.two(&data()).await;
        let names = ["anna", "bea", "carla"];
        two.acme.run_as(async |tx| {
            member::Entity::insert_many(names.map(|name| new_member(name, name))).exec(tx).await
        }).await.unwrap();
        let before = two.acme.metrics();
        two.acme
            .read_as(async |tx| {
                let rows = sea_orm::QueryTrait::build(&member::Entity::find(), StreamTrait::get_database_backend(tx));
                let mut rows = tx.stream_raw(rows).await?;
                for _ in 0..2 {
                    rows.next().await.transpose()?;
                }
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        let counted = two.acme.metrics();
        assert_eq!((counted.statements - before.statements, counted.rows - before.rows), (1, 2));
    }

    async fn a_transactional_task_is_counted_as_a_transaction(place: Placement) {
        let data = data();
        let runner = place.runner("acme", &data, vec![workflow("join", [join.definition()])]).await;
        assert!(runner.execute("join", Context::new()).await.unwrap().status.is_success());
        let counted = runner.data().unwrap().metrics();
        assert_eq!((counted.open_transactions, counted.committed, counted.statements), (0, 1, 1));
        assert!(!runner.execute("join", Context::new()).await.unwrap().status.is_success());
        let counted = runner.data().unwrap().metrics();
        assert_eq!((counted.committed, counted.rolled_back, counted.failed), (1, 1, 1));
        runner.shutdown().await.unwrap();
    }
}

mod all {
    use super::*;
    in_files_and_schemas! {
        async fn a_declaration_knows_the_figures_of_all_its_tenants(place: Placement) {
            let data = data();
            let two = place.two(&data).await;
            for (db, times) in [(&two.acme, 1_u64), (&two.globex, 2)] {
                for _ in 0..times {
                    db.read_as(async |tx| member::Entity::find().count(tx).await).await.unwrap();
                }
            }
            let committed: Vec<_> = data.metrics().into_iter().map(|(tenant, counted)| (tenant, counted.committed)).collect();
            let expected = [(two.acme.tenant().to_owned(), 1), (two.globex.tenant().to_owned(), 2)];
            assert_eq!(committed, expected);
        }
    }
}
