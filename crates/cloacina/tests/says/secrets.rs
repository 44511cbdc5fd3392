//! What is said nowhere, at no level.

use std::time::Duration;

use cloacina::{Context, ExecutionStatus, TaskError};
use tracing::Level;
use uuid::Uuid;

use crate::heard::{all, tenant_of};
use crate::support::{Database, attempts, idle, quick, task, workflow};

on_each_store! {
    async fn no_event_holds_what_a_tenant_stores_or_the_password_of_the_database(database: Database) {
        let (place, tenant) = tenant_of(&database);
        let secret = || Uuid::new_v4().simple().to_string();
        let (input, patch, key) = (secret(), secret(), secret());
        let stored = patch.clone();
        let keeps = task("keep", move |context| {
            let stored = stored.clone();
            async move {
                if context.task().attempt() == 1 {
                    return Err::<Context, TaskError>("not yet".into());
                }
                Ok(context.with("kept", stored))
            }
        });
        let tasks = || [keeps.clone().retry(attempts(2)), idle("end").dependencies(["keep"])];
        // Beside it the clockwork goes round.
        let quick = || quick().lease(Duration::from_secs(1)).heartbeat_interval(Duration::from_millis(100));
        let runner = place.configured(quick(), [workflow("w", tasks())]).await;
        let with = || Context::new().with("given", input.clone());
        let submitted = runner.submit("w").input(with()).idempotency_key(&key).send().await.unwrap();
        let result = submitted.wait_for_completion().await.unwrap();
        assert_eq!(result.status, ExecutionStatus::Completed, "{result:?}");
        assert_eq!(result.final_context.get::<String>("kept"), Some(patch.clone()));
        let waiting = runner.submit("w").input(with()).start_at(jiff::Timestamp::MAX).send().await.unwrap();
        waiting.cancel().await.unwrap();
        runner.shutdown().await.unwrap();
        // An old version, which nobody has.
        let before = place.configured(quick().submit_only(true), [workflow("old", [idle("t")])]).await;
        before.submit("old").input(with()).send().await.unwrap();
        before.shutdown().await.unwrap();
        let runner = place.configured(quick(), [workflow("w", tasks())]).await;
        crate::heard::said(|said| said.is(Level::WARN, &tenant, "no live runner")).await;
        runner.shutdown().await.unwrap();

        let mut secrets = vec![input, patch, key];
        let login = database.url.split_once("://").unwrap().1.split_once('@');
        secrets.extend(login.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password.to_owned()));
        assert_eq!(secrets.len(), if place.schema.is_some() { 4 } else { 3 }, "{}", database.url);
        assert!(all(|said| said.text().contains(&tenant)).len() >= 2);
        let told = all(|said| secrets.iter().any(|secret| said.text().contains(secret)));
        assert!(told.is_empty(), "{told:#?}");
    }
}
