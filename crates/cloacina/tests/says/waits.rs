//! Waits that last longer than their executions may.

use std::time::Duration;

use cloacina::{Wait, Workflow};
use tracing::Level;

use crate::heard::{all, listen, said, tenant_of};
use crate::support::{Database, quick};

const LATE: &str = "one of its waits cannot end";

const HOUR: Duration = Duration::from_secs(3600);

on_each_store! {
    async fn a_deadline_before_a_wait_can_end_is_a_warning(database: Database) {
        listen();
        let (place, tenant) = tenant_of(&database);
        let sleeps = Workflow::builder("sleeps")
            .wait(Wait::sleep("one", HOUR))
            .wait(Wait::sleep("beside", HOUR))
            .wait(Wait::signal("answer").after("one").after("beside").timeout(9 * HOUR))
            .wait(Wait::sleep("two", HOUR).after("answer"))
            .build();
        let runner = place.configured(quick().submit_only(true), [sleeps]).await;
        let submit = async |hours: u32| {
            let deadline = cloacina_core::clock::Clock::now(&cloacina_core::clock::SystemClock) + hours * HOUR + HOUR / 2;
            runner.submit("sleeps").deadline(deadline).send().await.unwrap()
        };
        // A signal may come at once, and sleeps beside each other take the time of one.
        submit(2).await;
        assert!(all(|said| said.is(Level::WARN, &tenant, LATE)).is_empty());
        submit(1).await;
        let warning = said(|said| said.is(Level::WARN, &tenant, LATE)).await;
        assert_eq!((warning.fields.of("workflow"), warning.fields.of("wait")), ("sleeps", "two"));
        submit(0).await;
        assert_eq!(all(|said| said.is(Level::WARN, &tenant, LATE)).len(), 1, "once in a while");
        runner.shutdown().await.unwrap();
    }
}
