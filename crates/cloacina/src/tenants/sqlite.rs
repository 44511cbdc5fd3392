//! Tenants in files of a directory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cloacina_core::{ErrorKind, PipelineError};
use cloacina_sqlite::{Directory, FileId};

use super::{Provisioned, Shared, TenantName};
use crate::runner::{DefaultRunner, DefaultRunnerConfig};

/// How many tenants with work due are opened at one look.
const OPENED_AT_ONCE: usize = 64;

/// How long a file that could not be opened is left alone: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

pub(super) struct Files {
    directory: Directory,
    aside: Mutex<Aside>,
}

/// The files that could not be opened when work was due in them. Each is left alone for twice as long with every failure.
#[derive(Default)]
struct Aside {
    files: HashMap<FileId, (Instant, Duration)>,
}

impl Aside {
    fn holds(&self, id: &FileId, now: Instant) -> bool {
        self.files.get(id).is_some_and(|(until, _)| now < *until)
    }

    /// Returns for how long.
    fn put(&mut self, id: FileId, now: Instant) -> Duration {
        let pause = self.files.get(&id).map_or(PAUSE.0, |(_, pause)| (*pause * 2).min(PAUSE.1));
        self.files.insert(id, (now + pause, pause));
        pause
    }
}

impl Files {
    pub(super) async fn open(directory: PathBuf) -> Result<Self, PipelineError> {
        Ok(Self { directory: Directory::open(directory).await?, aside: Mutex::default() })
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
        // A runner would make the file.
        let id = self.must_be_there(name).await?;
        DefaultRunner::builder().file(self.directory.address(&id)?).config(config.clone()).build().await
    }

    /// The file of a tenant that there is.
    pub(super) async fn must_be_there(&self, name: &TenantName) -> Result<FileId, PipelineError> {
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
    pub(super) async fn cannot_decide(&self, name: &TenantName) -> Result<(), PipelineError> {
        self.must_be_there(name).await?;
        let message = format!(
            "the tenant `{name}` is a file, which any process may open: nothing that is decided about it would bind them all; its runners' \
             configuration limits it, and to stop it, stop submitting or `remove` it"
        );
        Err(PipelineError::new(ErrorKind::Configuration, message))
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
        let now = Instant::now();
        let mut open = Vec::new();
        {
            let mut aside = self.lock_aside();
            // Whoever asked for one of them may have opened it, or it is gone.
            aside.files.retain(|id, _| due.iter().any(|due| due.id == *id));
            open.extend(due.into_iter().filter(|due| !aside.holds(&due.id, now)).take(OPENED_AT_ONCE));
        }
        for due in open {
            let opened = match TenantName::parse(due.id.as_str()) {
                Ok(name) => shared.runner(&name).await.map(drop),
                Err(error) => Err(error),
            };
            match opened {
                Err(error) if error.kind() != ErrorKind::ShutDown => {
                    let pause = self.lock_aside().put(due.id.clone(), Instant::now());
                    tracing::warn!(tenant = %due.id, %error, "a tenant with work due was not opened; will try again in {pause:?}");
                }
                _ => {}
            }
        }
    }

    fn lock_aside(&self) -> MutexGuard<'_, Aside> {
        // Nothing panics while it is held.
        self.aside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_left_alone_for_longer_each_time_up_to_a_minute() {
        let (mut aside, mut now) = (Aside::default(), Instant::now());
        let (broken, other) = (FileId::parse("broken").unwrap(), FileId::parse("other").unwrap());
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let pause = aside.put(broken.clone(), now);
            assert!(aside.holds(&broken, now) && !aside.holds(&other, now));
            now += pause;
            assert!(!aside.holds(&broken, now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    }
}
