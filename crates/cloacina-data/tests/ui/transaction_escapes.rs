use cloacina::data::{DataError, TenantDb, TenantTx};

async fn kept(db: &TenantDb) {
    let mut kept: Option<&TenantTx> = None;
    let _ = db
        .run_as(async |tx| {
            kept = Some(tx);
            Ok::<_, DataError>(())
        })
        .await;
    drop(kept);
}

async fn returned(db: &TenantDb) {
    let _ = db.run_as(async |tx| Ok::<_, DataError>(tx)).await;
}

async fn ended(db: &TenantDb) {
    use cloacina::data::sea_orm::TransactionSession;
    let _ = db.run_as(async |tx| tx.commit().await.map_err(DataError::from)).await;
}

fn main() {}
