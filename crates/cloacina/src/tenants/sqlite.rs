//! Tenants in files of a directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloacina_core::clock::Clock;
use cloacina_core::store::{
    AuditStore, ExecutionHeader, ExecutionList, KeyStore, NewAudit, OpenWait, Store as _, TemplateStore,
    WaitFilter,
};
use cloacina_core::streak::{Streak, Whose};
use cloacina_core::{Error, ErrorKind, Pruning, Retention, note_behind};
use cloacina_sqlite::{Directory, FileId, SqliteAddress, SqliteStore};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::aside::Aside;
use super::{Diagnosis, Placement, Provisioned, TenantName};
use crate::runner::{Runner, RunnerBuilder};

/// How many tenants with work due are opened at one look.
const OPENED_AT_ONCE: usize = 64;

/// For how long something is deleted in one file before others have their turn, and whoever asks for the
/// tenant.
const PRUNED_AT_ONCE: Duration = Duration::from_millis(500);

pub(super) struct Files {
    directory: Arc<Directory>,
    runtime: Handle,
    /// The files that could not be opened when work was due in them.
    aside: Mutex<Aside<FileId>>,
    looking: Streak,
    pruning: Streak,
}

impl Files {
    pub(super) async fn open(directory: PathBuf) -> Result<Self, Error> {
        let directory = Directory::open(directory).await?;
        Ok(Self {
            runtime: directory.runtime()?,
            directory: Arc::new(directory),
            aside: Mutex::default(),
            looking: Streak::new(
                "look for tenants with work due",
                "what becomes due in tenants that nobody has open waits until that succeeds",
            ),
            pruning: Streak::new(
                "look for tenants whose executions have been kept for long enough",
                "those of tenants that nobody has open are kept for longer than was asked for",
            ),
        })
    }

    pub(super) fn key_store(&self) -> (Arc<dyn KeyStore>, Handle) {
        (Arc::clone(&self.directory) as Arc<dyn KeyStore>, self.runtime.clone())
    }

    pub(super) fn template_store(&self) -> (Arc<dyn TemplateStore>, Handle) {
        (Arc::clone(&self.directory) as Arc<dyn TemplateStore>, self.runtime.clone())
    }

    pub(super) fn audit_store(&self) -> (Arc<dyn AuditStore>, Handle) {
        (Arc::clone(&self.directory) as Arc<dyn AuditStore>, self.runtime.clone())
    }

    pub(super) async fn provision(
        &self,
        name: &TenantName,
        placement: Placement,
        audit: Option<NewAudit>,
    ) -> Result<Provisioned, Error> {
        if placement != Placement::File {
            return Err(name.cannot_be_put(placement, "in a directory every tenant is a file"));
        }
        let id = FileId::parse(name.as_str())?;
        if let Some(other) = self.same(name).await? {
            return Err(name.exists(other.as_str()));
        }
        let address = self.directory.create_noted(&id, audit).await?;
        Ok(Provisioned {
            placement,
            place: address.label().to_owned(),
            #[cfg(feature = "postgres")]
            credentials: None,
        })
    }

    pub(super) async fn remove(&self, name: &TenantName, audit: Option<NewAudit>) -> Result<bool, Error> {
        Ok(self.directory.delete_noted(&FileId::parse(name.as_str())?, audit).await?)
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, Error> {
        Ok(self.directory.list().await?.iter().map(FileId::to_string).collect())
    }

    pub(super) async fn largest(&self, limit: usize) -> Result<Vec<(String, u64)>, Error> {
        let largest = self.directory.largest(limit).await?.into_iter();
        Ok(largest.map(|(id, bytes)| (id.to_string(), bytes)).collect())
    }

    pub(super) async fn executions(
        &self,
        list: ExecutionList,
    ) -> Result<cloacina_sqlite::Across<ExecutionHeader>, Error> {
        Ok(self.directory.executions_across(list).await?)
    }

    pub(super) async fn waits(
        &self,
        from: Option<&str>,
        filter: WaitFilter,
    ) -> Result<cloacina_sqlite::Across<OpenWait>, Error> {
        let from = from.map(FileId::parse).transpose()?;
        Ok(self.directory.waits_across(from, filter).await?)
    }

    pub(super) async fn open_runner(
        &self,
        name: &TenantName,
        builder: RunnerBuilder,
    ) -> Result<Runner, Error> {
        // A runner would make the file.
        let id = self.must_be_there(name).await?;
        builder.file(self.directory.address(&id)?).build().await
    }

    /// Makes or changes the tables of a file.
    pub(super) async fn migrate(&self, name: &TenantName) -> Result<(), Error> {
        let id = self.must_be_there(name).await?;
        SqliteStore::open_address(self.directory.address(&id)?).await?;
        Ok(())
    }

    /// Looks whether a file is as it has to be.
    pub(super) async fn examine(&self, name: &TenantName) -> Result<(SqliteAddress, Diagnosis), Error> {
        let id = self.must_be_there(name).await?;
        let address = self.directory.address(&id)?;
        let mut diagnosis = Diagnosis::from(cloacina_sqlite::findings(address.clone(), id.as_str()).await?);
        // What is damaged may not tell its version.
        if !diagnosis.is_fatal() {
            diagnosis.add_version(id.as_str(), cloacina_sqlite::version(address.clone()).await?);
        }
        Ok((address, diagnosis))
    }

    /// The file of a tenant that there is.
    pub(super) async fn must_be_there(&self, name: &TenantName) -> Result<FileId, Error> {
        let id = FileId::parse(name.as_str())?;
        if self.directory.exists(&id)? {
            return Ok(id);
        }
        Err(match self.same(name).await? {
            Some(other) => name.differs_from(other.as_str()),
            None => name.not_found(),
        })
    }

    /// Why nothing can be decided about a tenant that is there.
    pub(super) async fn cannot_decide(&self, name: &TenantName) -> Result<(), Error> {
        self.must_be_there(name).await?;
        let message = format!(
            "the tenant `{name}` is a file, which any process may open: nothing that is decided about it would bind them all; its runners' \
             configuration limits it, and to stop it, stop submitting or `remove` it"
        );
        Err(Error::new(ErrorKind::Configuration, message))
    }

    /// The file of this name, whatever the case of its letters.
    async fn same(&self, name: &TenantName) -> Result<Option<FileId>, Error> {
        let ids = self.directory.list().await?;
        Ok(ids.into_iter().find(|id| id.as_str().eq_ignore_ascii_case(name.as_str())))
    }

    /// The tenants that have work due and may be opened now.
    pub(super) async fn due(&self, clock: &dyn Clock) -> Vec<FileId> {
        let due = self.directory.due(clock.now()).await;
        self.looking.note(Whose::Database(&self.directory.path().display().to_string()), &due);
        let Ok(due) = due else { return Vec::new() };
        let now = Instant::now();
        let mut aside = self.aside.lock();
        // Whoever asked for one of them may have opened it, or it is gone.
        aside.retain(|id| due.iter().any(|due| due.id == *id));
        let may_be_opened = due.into_iter().map(|due| due.id).filter(|id| !aside.holds(id, now));
        may_be_opened.take(OPENED_AT_ONCE).collect()
    }

    /// The tenants that nobody has open and in whose files something has been kept for long enough.
    pub(super) async fn aged(&self, retention: Retention, clock: &dyn Clock) -> Vec<FileId> {
        let aged = self.directory.aged(retention, clock.now()).await;
        let label = self.directory.path().display().to_string();
        self.pruning.note(Whose::Database(&label), &aged);
        let aged = aged.unwrap_or_default();
        let behind = aged.iter().map(|(_, late)| *late).max().unwrap_or_default();
        note_behind(&label, behind);
        aged.into_iter().map(|(id, _)| id).collect()
    }

    /// Deletes, for a moment, what has been kept for long enough in a file. What came of it says whether
    /// anything was deleted, and whether there is more.
    pub(super) async fn prune(
        &self,
        id: &FileId,
        retention: Retention,
        clock: Arc<dyn Clock>,
    ) -> Result<(bool, bool), Error> {
        if !self.directory.exists(id)? {
            return Ok((false, false));
        }
        let address = self.directory.address(id)?;
        let work = async move {
            let store = SqliteStore::open_address(address).await?;
            let until = clock.monotonic() + PRUNED_AT_ONCE;
            let go_on = || clock.monotonic() < until;
            let place = Arc::new(store.place().clone());
            let pruned = async {
                let found = store.execution_oldest(std::slice::from_ref(&place)).await?;
                let found = found.into_iter().next().unwrap_or_default();
                Pruning::default().prune(&*store, &*clock, &place, found, &retention, go_on).await
            };
            let pruned = pruned.await;
            store.close().await?;
            let pruned = pruned?;
            Ok((pruned.executions > 0, pruned.more))
        };
        match self.runtime.spawn(work).await {
            Ok(pruned) => pruned,
            Err(error) => Err(Error::new(
                ErrorKind::Internal,
                format!("deleting in the file of `{id}` did not end: {error}"),
            )),
        }
    }

    /// Leaves a tenant alone for a while that could not be opened.
    pub(super) fn put_aside(&self, id: &FileId, error: &Error) {
        let pause = self.aside.lock().put(id.clone(), Instant::now());
        tracing::warn!(tenant = %id, %error, "a tenant with work due was not opened; will try again in {pause:?}");
    }
}
