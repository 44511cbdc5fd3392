//! Transactions: what is kept, what is undone, and what outlives them.

use std::sync::{Arc, Mutex};

use cloacina::data::sea_orm::{
    ConnectionTrait, EntityTrait, PaginatorTrait, TransactionSession, TransactionTrait,
};
use cloacina::data::{DataError, DataErrorKind, TenantDb, TenantTx, sea_orm};

use crate::model::{data, member, new_member};
use crate::support::{Placement, assert_says, in_each_placement};

async fn count(db: &TenantDb) -> u64 {
    db.read_as(async |tx| member::Entity::find().count(tx).await).await.unwrap()
}

in_each_placement! {
    async fn what_fails_leaves_nothing(place: Placement) {
        let two = place.two(&data()).await;
        let failed = two
            .acme
            .run_as(async |tx| {
                member::Entity::insert(new_member("anna", "anna")).exec(tx).await?;
                Err::<(), _>(anyhow::anyhow!("changed its mind"))
            })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "changed its mind");
        assert_eq!(count(&two.acme).await, 0);
    }

    async fn an_error_that_is_passed_over_still_undoes_everything(place: Placement) {
        let two = place.two(&data()).await;
        let passed_over = two
            .acme
            .run_as(async |tx| {
                member::Entity::insert(new_member("anna", "anna")).exec(tx).await?;
                drop(member::Entity::insert(new_member("anna", "twice")).exec(tx).await);
                Ok::<_, DataError>(())
            })
            .await;
        assert_says(&passed_over.unwrap_err(), DataErrorKind::Poisoned, "tenant `acme`");
        assert_eq!(count(&two.acme).await, 0);
    }

    async fn a_refused_statement_is_one_also_to_whoever_speaks_sea_orm(place: Placement) {
        let two = place.two(&data()).await;
        let several = async |tx: &TenantTx| tx.execute_unprepared("SELECT 1; SELECT 2").await.map(drop);
        let orms: Result<(), sea_orm::DbErr> = two.acme.run_as(async |tx| several(tx).await).await;
        let ours: Result<(), DataError> = two.acme.run_as(async |tx| Ok(several(tx).await?)).await;
        for error in [DataError::from(orms.unwrap_err()), ours.unwrap_err()] {
            assert_says(&error, DataErrorKind::Refused, "tenant `acme`");
        }
    }

    async fn a_value_that_would_be_stored_as_null_is_refused(place: Placement) {
        let two = place.two(&data()).await;
        let search = |number: f64| {
            two.acme.run_as(async move |tx| {
                let backend = tx.get_database_backend();
                let text = match backend {
                    sea_orm::DbBackend::Sqlite => "SELECT name FROM member WHERE cents = ? AND cents < ?",
                    _ => "SELECT name FROM member WHERE cents = $1 AND cents < $2",
                };
                let values = [1.5.into(), number.into()];
                let statement = sea_orm::Statement::from_sql_and_values(backend, text, values);
                Ok::<_, DataError>(tx.query_all_raw(statement).await?.len())
            })
        };
        assert_eq!(search(f64::INFINITY).await.unwrap(), 0);
        match place {
            Placement::Sqlite(_) => {
                let error = search(f64::NAN).await.unwrap_err();
                assert_says(&error, DataErrorKind::Refused, "value 2 of a statement on member is NaN");
            }
            _ => assert_eq!(search(f64::NAN).await.unwrap(), 0),
        }
    }

    async fn a_savepoint_is_undone_alone(place: Placement) {
        let two = place.two(&data()).await;
        two.acme
            .run_as(async |tx| {
                member::Entity::insert(new_member("anna", "anna")).exec(tx).await?;
                let inner = tx.begin().await?;
                member::Entity::insert(new_member("bea", "bea")).exec(&inner).await?;
                assert!(member::Entity::insert(new_member("anna", "twice")).exec(&inner).await.is_err());
                inner.rollback().await?;
                let kept = tx.begin().await?;
                member::Entity::insert(new_member("carla", "carla")).exec(&kept).await?;
                kept.commit().await?;
                {
                    let dropped = tx.begin().await?;
                    member::Entity::insert(new_member("dora", "dora")).exec(&dropped).await?;
                }
                assert_eq!(member::Entity::find().count(tx).await?, 2);
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        assert_eq!(count(&two.acme).await, 2);
    }

    async fn what_is_kept_of_a_transaction_takes_nothing_after_its_end(place: Placement) {
        let two = place.two(&data()).await;
        let smuggled = Arc::new(Mutex::new(None));
        two.acme
            .run_as(async |tx| {
                *smuggled.lock().unwrap() = Some(tx.begin().await?);
                Ok::<_, sea_orm::DbErr>(())
            })
            .await
            .unwrap();
        let tx = smuggled.lock().unwrap().take().unwrap();
        let error = member::Entity::find().count(&tx).await.unwrap_err();
        assert!(error.to_string().contains("the transaction is over"), "{error}");
    }

    async fn a_future_that_is_dropped_leaves_nothing_and_the_next_tenant_sees_its_own(place: Placement) {
        let two = place.two(&data()).await;
        for _ in 0..20 {
            let work = two.acme.run_as(async |tx| {
                member::Entity::insert(new_member("anna", "anna")).exec(tx).await?;
                std::future::pending::<()>().await;
                Ok::<_, sea_orm::DbErr>(())
            });
            drop(tokio::time::timeout(std::time::Duration::from_millis(10), work).await);
            assert_eq!(count(&two.globex).await, 0);
        }
        assert_eq!(count(&two.acme).await, 0);
    }

    async fn a_transaction_that_only_reads_cannot_write(place: Placement) {
        let two = place.two(&data()).await;
        let written = two.acme.read_as(async |tx| member::Entity::insert(new_member("anna", "anna")).exec(tx).await).await;
        assert!(written.is_err());
        assert_eq!(count(&two.acme).await, 0);
    }
}
