//! Schedules that all tenants have.

use std::sync::Arc;

use cloacina_core::store::{NewAudit, ScheduleTemplates, StoreError, StoreErrorKind, TemplateStore};
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
    /// registry of the directory. A tenant has them from when it is next opened, or made, by a manager; those
    /// that this one has open have them when this returns, and a tenant that was not opened since keeps
    /// what it has: to change all at once, ask for the [runner](Self::runner) of each that is
    /// [listed](Self::list).
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
        Ok(())
    }
}

impl Shared {
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

    /// A tenant was made: it has the schedules that all have, also if nobody opens it.
    pub(super) async fn made(self: &Arc<Self>, name: &TenantName) {
        let templates = self.ask(move |store| async move { store.template_list().await }).await;
        if templates.is_ok_and(|templates| templates.is_empty()) {
            return;
        }
        if let Err(error) = Box::pin(self.runner(name)).await {
            warn!(tenant = name.as_str(), %error, "a tenant was made and has not the schedules that all have: it could not be opened");
        }
    }
}
