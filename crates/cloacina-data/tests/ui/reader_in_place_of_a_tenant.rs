//! What works for one tenant cannot be given a transaction that reads several.

use cloacina::data::{Across, DataError, TenantTx};

async fn settle(_tx: &TenantTx) -> Result<(), DataError> {
    Ok(())
}

async fn run(across: &Across) -> Result<(), DataError> {
    across.read("acme", async |tx| settle(tx).await).await
}

fn main() {}
