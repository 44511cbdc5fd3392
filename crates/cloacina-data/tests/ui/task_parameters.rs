use cloacina::data::{TenantDb, TenantTx};
use cloacina::{Context, TaskError, task};

#[task]
async fn exclusive(_context: &mut Context, _tx: &mut TenantTx) -> Result<(), TaskError> {
    Ok(())
}

#[task(blocking)]
fn blocks_in_a_transaction(_context: &mut Context, _tx: &TenantTx) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn for_ever(_context: &mut Context, _tx: &'static TenantTx) -> Result<(), TaskError> {
    Ok(())
}

#[task(blocking)]
fn blocks(_context: &mut Context, _db: TenantDb) -> Result<(), TaskError> {
    Ok(())
}

fn main() {}
