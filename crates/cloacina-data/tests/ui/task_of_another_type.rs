use cloacina::data::{TenantDb, TenantTx};
use cloacina::{Context, TaskError, task};

#[task]
async fn owned(_context: &mut Context, _tx: TenantTx) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn borrowed(_context: &mut Context, _db: &TenantDb) -> Result<(), TaskError> {
    Ok(())
}

#[task]
async fn number(_context: &mut Context, _number: u32) -> Result<(), TaskError> {
    Ok(())
}

fn main() {}
