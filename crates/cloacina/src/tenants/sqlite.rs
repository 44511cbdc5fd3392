//! Tenants in files of a directory.

use std::path::PathBuf;
use std::sync::Arc;

use cloacina_core::{ErrorKind, PipelineError};
use cloacina_sqlite::{Directory, FileId};

use super::{Provisioned, Shared, TenantName};
use crate::runner::{DefaultRunner, DefaultRunnerConfig};

/// How many tenants with work due are opened at one look.
const OPENED_AT_ONCE: usize = 64;

pub(super) struct Files {
    directory: Directory,
}

impl Files {
    pub(super) async fn open(directory: PathBuf) -> Result<Self, PipelineError> {
        Ok(Self { directory: Directory::open(directory).await? })
    }

    pub(super) async fn provision(&self, name: &TenantName) -> Result<Provisioned, PipelineError> {
        let id = FileId::parse(name.as_str())?;
        if let Some(other) = self.same(name).await? {
            return Err(name.exists(other.as_str()));
        }
        let address = self.directory.create(&id).await?;
        Ok(Provisioned {
            place: address.label().to_owned(),
            #[cfg(feature = "postgres")]
            credentials: None,
        })
    }

    pub(super) async fn remove(&self, name: &TenantName) -> Result<bool, PipelineError> {
        Ok(self.directory.delete(&FileId::parse(name.as_str())?).await?)
    }

    pub(super) async fn list(&self) -> Result<Vec<String>, PipelineError> {
        Ok(self.directory.list().await?.iter().map(FileId::to_string).collect())
    }

    pub(super) async fn open_runner(
        &self,
        name: &TenantName,
        config: &DefaultRunnerConfig,
    ) -> Result<DefaultRunner, PipelineError> {
        let id = FileId::parse(name.as_str())?;
        // A runner would make the file.
        if !self.directory.exists(&id)? {
            return Err(match self.same(name).await? {
                Some(other) => name.differs_from(other.as_str()),
                None => name.not_found(),
            });
        }
        DefaultRunner::builder().file(self.directory.address(&id)?).config(config.clone()).build().await
    }

    /// The file of this name, whatever the case of its letters.
    async fn same(&self, name: &TenantName) -> Result<Option<FileId>, PipelineError> {
        let ids = self.directory.list().await?;
        Ok(ids.into_iter().find(|id| id.as_str().eq_ignore_ascii_case(name.as_str())))
    }

    /// Opens the tenants that have work due, so that it is done.
    pub(super) async fn look_after(&self, shared: &Arc<Shared>) {
        let due = match self.directory.due(shared.config.clock.now()).await {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(directory = %self.directory.path().display(), %error, "failed to look for tenants with work due");
                return;
            }
        };
        for due in due.into_iter().take(OPENED_AT_ONCE) {
            let opened = match TenantName::parse(due.id.as_str()) {
                Ok(name) => shared.runner(&name).await.map(drop),
                Err(error) => Err(error),
            };
            match opened {
                Err(error) if error.kind() != ErrorKind::ShutDown => {
                    tracing::warn!(tenant = %due.id, %error, "a tenant with work due was not opened; will try again");
                }
                _ => {}
            }
        }
    }
}
