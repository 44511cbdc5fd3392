//! Whose executions are served.

use cloacina::audit::{Actor, AuditRecord, AuditVerdict};
use cloacina::tenants::{Across, Diagnosis, Placement, TenantManager};
use cloacina::{Cursor, Error, ErrorKind, ExecutionFilter, ExecutionResult, Runner, Uuid, Waiting};

/// What is served: the tenants of a [`TenantManager`], or a single [`Runner`] as a tenant of its place's
/// name.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Inner,
}

#[derive(Debug, Clone)]
enum Inner {
    Tenants(TenantManager),
    One(Box<Runner>),
}

impl From<TenantManager> for Engine {
    fn from(tenants: TenantManager) -> Self {
        Self { inner: Inner::Tenants(tenants) }
    }
}

impl From<Runner> for Engine {
    fn from(runner: Runner) -> Self {
        Self { inner: Inner::One(Box::new(runner)) }
    }
}

impl Engine {
    /// The same, acting for somebody whom the audit is to know.
    pub(crate) fn acting(&self, actor: Actor) -> Self {
        let inner = match &self.inner {
            Inner::Tenants(tenants) => Inner::Tenants(tenants.acting(actor)),
            Inner::One(runner) => Inner::One(Box::new(runner.acting(actor))),
        };
        Self { inner }
    }

    /// Executions of all tenants, the newest first, each with its tenant.
    pub(crate) async fn executions(
        &self,
        filter: ExecutionFilter,
        before: Option<Uuid>,
        limit: usize,
    ) -> Result<Across<ExecutionResult>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.executions(filter, before, limit).await,
            Inner::One(runner) => {
                let found = runner.list(filter, before, limit).await?;
                Ok(of_one(runner, found))
            }
        }
    }

    /// What these wait for, tenant after tenant.
    pub(crate) async fn waits(
        &self,
        asking: bool,
        after: Option<(&str, Cursor)>,
        limit: usize,
    ) -> Result<Across<Waiting>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.waits(asking, after, limit).await,
            Inner::One(runner) => {
                let after = after.map(|(_, cursor)| cursor);
                let found = match asking {
                    true => runner.inbox(after, limit).await?,
                    false => runner.waits(after, limit).await?,
                };
                Ok(of_one(runner, found))
            }
        }
    }

    /// The tenants that take the most room, with their bytes.
    pub(crate) async fn largest(&self, limit: usize) -> Result<Vec<(String, u64)>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.largest(limit).await,
            Inner::One(_) => Ok(Vec::new()),
        }
    }

    /// Rows of the audit about all tenants.
    pub(crate) async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRecord>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.audit(None, before, limit).await,
            Inner::One(runner) => runner.audit(before, limit).await,
        }
    }

    /// Whether these are as they were written.
    pub(crate) async fn audit_verify(&self) -> Result<AuditVerdict, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.audit_verify(None).await,
            Inner::One(runner) => runner.audit_verify().await,
        }
    }

    /// The runner of a tenant.
    pub(crate) async fn runner(&self, tenant: &str) -> Result<Runner, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.runner(tenant).await,
            Inner::One(runner) if runner.place() == tenant => Ok(Runner::clone(runner)),
            Inner::One(_) => Err(Error::new(ErrorKind::NotFound, format!("there is no tenant `{tenant}`"))),
        }
    }

    /// What a doctor finds in the place of a tenant.
    pub(crate) async fn examine(&self, tenant: &str) -> Result<Diagnosis, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.examine(tenant).await,
            Inner::One(_) => Ok(self.runner(tenant).await?.examine().await?.into()),
        }
    }

    /// What a doctor finds in what the tenants share.
    pub(crate) async fn examine_all(&self) -> Result<Diagnosis, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.examine_all().await,
            Inner::One(_) => Ok(Diagnosis::default()),
        }
    }

    /// The names of all tenants, in their order.
    pub(crate) async fn tenants(&self) -> Result<Vec<String>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.list().await,
            Inner::One(runner) => Ok(vec![runner.place().to_owned()]),
        }
    }

    /// Where a tenant is; `None` where nobody puts it anywhere.
    pub(crate) async fn placement(&self, tenant: &str) -> Result<Option<Placement>, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => tenants.placement(tenant).await.map(Some),
            Inner::One(_) => self.runner(tenant).await.map(|_| None),
        }
    }

    /// Who makes and removes tenants.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] where a single runner is served.
    pub(crate) fn manager(&self) -> Result<&TenantManager, Error> {
        match &self.inner {
            Inner::Tenants(tenants) => Ok(tenants),
            Inner::One(runner) => Err(Error::new(
                ErrorKind::Configuration,
                format!(
                    "this service has the single tenant `{}`: none can be made, changed or removed",
                    runner.place()
                ),
            )),
        }
    }
}

/// What there is of the only tenant.
fn of_one<T>(runner: &Runner, found: Vec<T>) -> Across<T> {
    let mut across = Across::default();
    across.found = found.into_iter().map(|found| (runner.place().to_owned(), found)).collect();
    across
}
