//! Tasks that work on their tenant's data.

use std::pin::Pin;

use cloacina_core::{Context, Recording, TaskError};

use crate::access::Access;
use crate::db::TenantDb;
use crate::tx::TenantTx;

/// What a transactional task's call is, for as long as its transaction is open.
pub type TaskCall<'tx> = Pin<Box<dyn Future<Output = Result<Context, TaskError>> + Send + 'tx>>;

/// The data of the tenant that a task runs for.
///
/// # Errors
///
/// A fatal one if its runner was given no data.
pub fn db_of(context: &Context) -> Result<TenantDb, TaskError> {
    TenantDb::of(context).map_err(TaskError::fatal)
}

/// Runs a task in a transaction that also records that it is done: either both happened or neither.
///
/// # Errors
///
/// The task's, and what kept the transaction from its commit; then nothing of it is written, and the attempt
/// has failed.
pub async fn in_transaction(
    context: Context,
    task: impl for<'tx> FnOnce(Context, &'tx TenantTx) -> TaskCall<'tx>,
) -> Result<Context, TaskError> {
    let db = db_of(&context)?;
    let recording = Recording::of(context.task())?.clone();
    recording.in_transaction();
    let tx = db.begin(Access::Write).await.map_err(TaskError::new)?;
    match task(context, &tx).await {
        Ok(context) => {
            // On its own, so that a task that is dropped at this moment does not cut the commit short.
            let completing = tokio::spawn(tx.complete(recording, context));
            completing.await.map_err(TaskError::new)??;
            Ok(Context::new())
        }
        Err(error) => {
            tx.undo().await;
            Err(error)
        }
    }
}
