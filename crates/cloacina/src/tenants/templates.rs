//! Schedules that all tenants have.

use std::sync::{Arc, Weak};
use std::time::Duration;

use cloacina_core::store::{NewAudit, Rollout, ScheduleTemplates, StoreError, StoreErrorKind, TemplateStore};
use cloacina_core::{Error, ErrorKind, Schedule, Schedules};
use tracing::warn;

use super::{Backend, Shared, TenantManager, TenantName};
use crate::runner::Runner;

impl TenantManager {
    /// Makes the schedules that all tenants have from an origin, a program say, exactly these; without any,
    /// those before are taken away. The same again changes nothing, so this may stand where the program
    /// starts.
    ///
    /// They are kept beside what is known of all tenants: in the schema `cloacina` of the database, or in the
    /// registry of the directory. Tenants that this manager has open have them when this returns, and those
    /// that are made later from the beginning. All others are opened for it one after the other, in the
    /// background: some hundreds a second. A process that ends meanwhile leaves the rest to the next manager
    /// of these tenants, and of several managers one does it. A tenant that cannot be opened then has them
    /// from when it is next opened by a manager; one that is suspended, from when it is resumed by one.
    ///
    /// In a tenant they are schedules as any other: it may pause and trigger them, and looks at their log. It
    /// may neither replace nor delete them. Where the name of one is taken by a schedule of the tenant's own,
    /// that tenant gets none of this origin, and the log says so.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Configuration`] for what a schedule cannot say; [`ErrorKind::ShutDown`]; and what is
    /// wrong with the database or the directory.
    pub async fn schedule_all(
        &self,
        origin: &str,
        schedules: impl IntoIterator<Item = Schedule>,
    ) -> Result<(), Error> {
        self.shared.check_open()?;
        let schedules: Vec<Schedule> = schedules.into_iter().collect();
        let config = &self.shared.config;
        let now = config.clock.database_now().unwrap_or_else(|| config.clock.now());
        let templates = Schedules::templates(origin, &schedules, config.min_schedule_period, now)?;
        let audit =
            self.noted("schedule_all").map(|audit| NewAudit { object: Some(origin.to_owned()), ..audit });
        let clock = config.clock.database_now();
        self.shared
            .ask(move |store| async move { store.template_put(&templates, audit.as_ref(), clock).await })
            .await?;
        let open: Vec<_> = self.shared.lock().values().cloned().collect();
        for tenant in open {
            // One that is being opened may have read them before.
            let runner = tenant.runner.lock().await.clone();
            if let Some(runner) = runner.filter(|runner| !runner.is_shut_down()) {
                self.shared.apply_templates(&runner).await;
            }
        }
        self.shared.rollout.notify_one();
        Ok(())
    }
}

/// How many tenants are given the schedules before it is noted how far they have come.
const NOTED: usize = 64;

/// How often it is asked whether a rollout is left, of a process that has ended.
const ASK: Duration = Duration::from_secs(60);

impl Shared {
    /// Gives the schedules that all tenants have to those that nobody opens, until the manager is gone. One
    /// that only submits, as a command does that ends soon, gives what it has put itself.
    pub(super) async fn roll_out(manager: Weak<Shared>) {
        let Some((rollout, mut asks)) =
            manager.upgrade().map(|shared| (Arc::clone(&shared.rollout), !shared.config.submit_only))
        else {
            return;
        };
        loop {
            if asks {
                let Some(shared) = manager.upgrade().filter(|shared| shared.check_open().is_ok()) else {
                    return;
                };
                match Box::pin(shared.roll_out_some()).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(error) if error.kind() == ErrorKind::ShutDown => return,
                    Err(error) => {
                        warn!(%error, "the schedules that all tenants have were not given to those that nobody opens; will try again");
                    }
                }
            }
            asks |= tokio::time::timeout(ASK, rollout.notified()).await.is_ok();
            if manager.strong_count() == 0 {
                return;
            }
        }
    }

    /// Runs a call on the runtime of the store.
    async fn ask<T, Fut>(&self, call: impl FnOnce(Arc<dyn TemplateStore>) -> Fut) -> Result<T, Error>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let (store, runtime) = match &self.backend {
            #[cfg(feature = "postgres")]
            Backend::Postgres(databases) => databases.template_store(),
            #[cfg(feature = "sqlite")]
            Backend::Sqlite(files) => files.template_store(),
        };
        let answer = runtime.spawn(call(store)).await.unwrap_or_else(|error| {
            let message = format!("a call about the schedules of all tenants did not end: {error}");
            Err(StoreError::new(StoreErrorKind::Internal, message))
        });
        Ok(answer?)
    }

    /// Gives a tenant that was opened the schedules that all have. It works without them, so what keeps it
    /// from having them is only said; the next opening tries again.
    pub(super) async fn apply_templates(&self, runner: &Runner) {
        if self.config.after_restore {
            return;
        }
        let tenant = runner.place();
        let applied = async {
            let templates: Vec<ScheduleTemplates> =
                self.ask(move |store| async move { store.template_list().await }).await?;
            runner.schedules().apply_templates(&templates).await
        };
        match applied.await {
            Ok(refused) => {
                for (origin, error) in refused {
                    warn!(tenant, origin, %error, "the schedules that all tenants have of this origin were not put");
                }
            }
            // Whoever suspended the tenant knows.
            Err(error) if matches!(error.kind(), ErrorKind::Suspended | ErrorKind::ShutDown) => {}
            Err(error) => warn!(tenant, %error, "the schedules that all tenants have were not put"),
        }
    }

    /// Gives them to the next tenants. Whether there are more.
    async fn roll_out_some(self: &Arc<Self>) -> Result<bool, Error> {
        if self.config.after_restore {
            return Ok(false);
        }
        let now = || self.config.clock.database_now();
        let at = now();
        let taken = self.ask(move |store| async move { store.rollout_take(at).await }).await?;
        let Rollout::Next { mut after, versions } = taken else { return Ok(false) };
        let mut names = self.names().await?;
        names.retain(|name| *name > after);
        names.sort_unstable();
        let mut chunks = names.chunks(NOTED).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            for name in chunk {
                self.check_open()?;
                if Arc::strong_count(self) == 1 {
                    // Nobody has the manager any more. Another goes on.
                    return Ok(false);
                }
                self.visit(name).await;
            }
            let is_last = chunks.peek().is_none();
            after = chunk.last().cloned().unwrap_or(after);
            let (versions, last, at) = (versions.clone(), (!is_last).then(|| after.clone()), now());
            let noted = move |store: Arc<dyn TemplateStore>| async move {
                store.rollout_note(&versions, last.as_deref(), at).await
            };
            self.ask(noted).await?;
            if is_last {
                // What was put meanwhile begins anew.
                return Ok(true);
            }
        }
    }

    /// Gives them to one tenant, which is closed again if nobody uses it.
    async fn visit(self: &Arc<Self>, name: &str) {
        let opened = match TenantName::parse(name) {
            Ok(name) => {
                let was_open = self.lock().contains_key(name.folded());
                let opened = Box::pin(self.runner(&name)).await;
                if !was_open && let Some(tenant) = self.lock().get(name.folded()) {
                    // As if it had not been used for long.
                    let mut used = tenant.used.lock();
                    *used = used.checked_sub(self.idle_after).unwrap_or(*used);
                }
                opened.map(|runner| was_open.then_some(runner))
            }
            Err(error) => Err(error),
        };
        match opened {
            // Opening it gave it to the others.
            Ok(Some(runner)) => self.apply_templates(&runner).await,
            Ok(None) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Suspended | ErrorKind::ShutDown | ErrorKind::NotFound
                ) => {}
            Err(error) => {
                warn!(tenant = name, %error, "a tenant does not have the schedules that all tenants have, because it could not be opened; it gets them when it is opened next");
            }
        }
    }

    /// A tenant was made, or is active again: it has the schedules that all have, also if nobody opens it.
    pub(super) async fn give_templates(self: &Arc<Self>, name: &TenantName) {
        let templates = self.ask(move |store| async move { store.template_list().await }).await;
        if templates.is_ok_and(|templates| templates.is_empty()) {
            return;
        }
        if let Err(error) = Box::pin(self.runner(name)).await {
            warn!(tenant = name.as_str(), %error, "a tenant does not have the schedules that all tenants have, because it could not be opened; it gets them when it is opened next");
        }
    }
}
