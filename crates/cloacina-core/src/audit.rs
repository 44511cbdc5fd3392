//! A handle on the audit.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::error::{Error, ErrorKind};
use crate::store::{AuditList, AuditOf, AuditRecord, AuditStore, AuditVerdict, StoreError, Verifying};

/// The most rows that are listed at once.
const LIST_LIMIT: usize = 10_000;

async fn ask<T: Send + 'static>(
    runtime: &Handle,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, Error> {
    let answer = runtime.spawn(call).await.map_err(|error| {
        Error::new(ErrorKind::Internal, format!("a call about the audit did not end: {error}"))
    })?;
    Ok(answer?)
}

/// Rows of the audit, the newest first.
#[doc(hidden)]
pub async fn audit_list(
    store: Arc<dyn AuditStore>,
    runtime: &Handle,
    of: AuditOf,
    before: Option<i64>,
    limit: usize,
) -> Result<Vec<AuditRecord>, Error> {
    let list = AuditList { of, before, limit: limit.min(LIST_LIMIT) };
    let listed = async move {
        store.audit_seal().await?;
        store.audit_list(&list).await
    };
    ask(runtime, listed).await
}

/// Whether rows of the audit are as they were written.
#[doc(hidden)]
pub async fn audit_verify(
    store: Arc<dyn AuditStore>,
    runtime: &Handle,
    of: AuditOf,
) -> Result<AuditVerdict, Error> {
    let verified = async move {
        store.audit_seal().await?;
        let mut verifying = Verifying::default();
        while verifying.look(store.audit_chain(&of, verifying.after()).await?) {}
        Ok(verifying.verdict())
    };
    ask(runtime, verified).await
}
