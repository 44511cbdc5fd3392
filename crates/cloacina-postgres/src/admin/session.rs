//! Sessions of tenants' logins: ended when they are not wanted any more, or last too long.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use cloacina_core::backoff::Backoff;

use super::{Admin, AdminError, AdminErrorKind, DatabaseAdmin, Result, role_list};
use crate::flight::{Scope, Step, params};
use crate::limits::{self, milliseconds};
use crate::statement as sql;

/// How long sessions are given to end once they were told to.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an action may wait for a lock before it is asked whose that is.
const COURTESY: Duration = Duration::from_millis(100);

/// One try of an action.
pub(super) type Attempt<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl DatabaseAdmin {
    /// Ends the sessions of tenants' logins whose statement or transaction takes longer than the tenant's
    /// limits allow, and those of logins whose time after a rotation is over. Returns how many were ended.
    /// Transactions that a tenant prepared are rolled back likewise, or named in a warning where this
    /// administrator is no superuser.
    ///
    /// To be called often: it is what keeps a tenant from holding locks, and the server's oldest snapshot,
    /// for ever. The tenant manager does so once a second.
    ///
    /// # Errors
    ///
    /// [`AdminErrorKind::Privileges`], [`AdminErrorKind::Unavailable`].
    pub async fn reap_sessions(&self) -> Result<usize> {
        self.run(async |admin| {
            admin.ensure().await?;
            // One of them that does not end keeps no other session alive.
            let (ended, closed) = (admin.reap().await, admin.end_overdue_logins().await);
            if let Err(error) = admin.end_prepared_of(None).await {
                let mut told = admin.told.lock();
                if *told != error.to_string() {
                    *told = error.to_string();
                    tracing::warn!(database = admin.inner.label(), %error, "what tenants have prepared exceeds their limits");
                }
            }
            closed.and(ended)
        })
        .await
    }
}

impl Admin {
    /// Ends the sessions of roles that cannot log in any more, and returns once they are gone.
    pub(super) async fn end_sessions(&self, roles: &[String]) -> Result<()> {
        if roles.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut pause = Backoff::new(Duration::from_millis(5), Duration::from_millis(100));
        let mut gone = 0;
        loop {
            let rows = self.as_itself(&[Step::Run(sql::SESSION_COUNT, params![roles.to_vec()])]).await?;
            gone = if rows[0][0].get::<_, i64>("sessions") == 0 { gone + 1 } else { 0 };
            // One that was being let in at the first look is seen at the second.
            if gone == 2 {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let message = format!("sessions of {} do not end", role_list(roles));
                return Err(AdminError::new(AdminErrorKind::Busy, message));
            }
            if gone == 0 {
                self.as_member(roles, Step::Run(sql::SESSION_END, params![roles.to_vec()])).await?;
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    /// Does what a tenant may be in the way of: with `ALTER ROLE` of itself, or with `GRANT` on what it may
    /// use, a login locks rows of the catalogs for as long as its transaction may last. Its sessions that are
    /// waited for are ended, while the action stands first in the line for the lock.
    pub(super) async fn insist<'a, T>(
        &'a self,
        roles: &[String],
        mut attempt: impl FnMut() -> Attempt<'a, T>,
    ) -> Result<T> {
        let begun = Instant::now();
        loop {
            let unblock = async || -> Infallible {
                loop {
                    tokio::time::sleep(COURTESY).await;
                    if let Err(error) = self.unblock(roles).await {
                        tracing::debug!(database = self.inner.label(), %error, "what an administrator waits for was not ended");
                    }
                }
            };
            let done = tokio::select! {
                biased;
                done = attempt() => done,
                never = unblock() => match never {},
            };
            match done {
                Err(error) if error.kind() == AdminErrorKind::Busy && begun.elapsed() < PATIENCE => {
                    tracing::debug!(database = self.inner.label(), %error, "an administrator's action is tried again");
                    // What a tenant prepared may be in the way for ever.
                    self.unblock(roles).await?;
                }
                done => return done,
            }
        }
    }

    /// Ends what this administrator waits for, if it is a tenant's.
    async fn unblock(&self, roles: &[String]) -> Result<()> {
        let rows = self.as_owner(vec![Step::Run(sql::SESSION_BLOCKERS, params![])]).await?;
        let blockers: Vec<String> = rows[0].iter().map(|row| row.get("role_name")).collect();
        if !blockers.is_empty() {
            let end = Step::Run(sql::SESSION_UNBLOCK, params![blockers.clone()]);
            for row in self.as_member(&blockers, end).await? {
                tracing::warn!(
                    database = self.inner.label(),
                    login = row.get::<_, &str>("role_name"),
                    "a session of a tenant was ended, because an administrator waited for its locks"
                );
            }
        }
        self.end_prepared(roles).await
    }

    /// Rolls back what sessions of these roles have prepared, which keeps its locks although they have ended.
    /// Only a superuser may.
    pub(super) async fn end_prepared(&self, roles: &[String]) -> Result<()> {
        self.end_prepared_of(Some(roles)).await
    }

    /// Of these roles, or of all tenants what is over its time.
    async fn end_prepared_of(&self, roles: Option<&[String]>) -> Result<()> {
        let parameters = params![roles.map(<[String]>::to_vec), milliseconds(limits::TRANSACTION_TIMEOUT)];
        let rows = self.as_owner(vec![Step::Run(sql::SESSION_PREPARED, parameters)]).await?;
        let mut left = Vec::new();
        for row in &rows[0] {
            let (statement, database): (&str, &str) = (row.get("statement"), row.get("database"));
            if row.get("is_here") && self.ensure().await?.is_superuser {
                let mut side = self.inner.pool.side().await?;
                match side.alone_and_last(statement).await {
                    Ok(()) => continue,
                    // Somebody else has ended it.
                    Err(failure) if failure.code() == Some("42704") => continue,
                    Err(failure) => {
                        let error = self.error(failure);
                        tracing::debug!(database = self.inner.label(), %error, "a prepared transaction was not rolled back");
                    }
                }
            }
            left.push(format!("in database `{database}`: {statement}"));
        }
        if left.is_empty() {
            return Ok(());
        }
        let message = format!(
            "transactions that the tenant prepared keep their locks, and would outlive it; a superuser has to run, {}",
            left.join(" ")
        );
        Err(AdminError::new(AdminErrorKind::Remains, message))
    }

    /// Runs a statement as a member of these roles, without becoming one: the membership is rolled back.
    async fn as_member(&self, roles: &[String], step: Step<'_>) -> Result<Vec<tokio_postgres::Row>> {
        let mut steps = Vec::new();
        if !self.ensure().await?.is_superuser {
            steps.push(Step::Batch(format!("GRANT {} TO CURRENT_USER", role_list(roles))));
        }
        steps.push(step);
        let mut side = self.inner.pool.side().await?;
        let mut rows = side.begin(Scope::Control, &steps).await.map_err(|failure| self.error(failure))?;
        self.finish(&mut side, &[Step::Batch("ROLLBACK AND CHAIN".to_owned())]).await?;
        Ok(rows.pop().unwrap_or_default())
    }

    async fn reap(&self) -> Result<usize> {
        let rows = self.as_owner(vec![Step::Run(sql::SESSION_TENANTS, params![])]).await?;
        let roles: Vec<String> = rows[0].iter().map(|row| row.get("role_name")).collect();
        if roles.is_empty() {
            return Ok(0);
        }
        let limits =
            params![milliseconds(limits::TRANSACTION_TIMEOUT), milliseconds(limits::STATEMENT_TIMEOUT)];
        let ended = self.as_member(&roles, Step::Run(sql::SESSION_REAP, limits)).await?;
        for row in &ended {
            tracing::warn!(
                database = self.inner.label(),
                login = row.get::<_, &str>("role_name"),
                "a session of a tenant was ended, because it exceeded the tenant's limits"
            );
        }
        Ok(ended.len())
    }
}
