//! Schedules that nobody would fire.

use std::time::Duration;

use cloacina::{Schedule, Triggered};
use tracing::Level;

use crate::heard::{all, listen, said, tenant_of};
use crate::support::{Database, idle, quick, workflow};

const NOBODY: &str = "no live runner would fire it";

on_each_store! {
    async fn a_schedule_that_nobody_would_fire_later_is_a_warning(database: Database) {
        listen();
        let (place, tenant) = tenant_of(&database);
        let hourly = || Schedule::new("hourly", "w").every(Duration::from_secs(3600));
        let worker = place.runner([workflow("w", [idle("t")])]).await;
        worker.schedules().put(hourly()).await.unwrap();
        let Triggered::Started(id) = worker.schedules().trigger("hourly").await.unwrap() else { panic!("it starts") };
        worker.execution(id).wait_for_completion().await.unwrap();
        assert!(all(|said| said.is(Level::WARN, &tenant, NOBODY)).is_empty());
        worker.shutdown().await.unwrap();
        let front_end = place.configured(quick().submit_only(true), []).await;
        for _ in 0..2 {
            front_end.schedules().put(hourly()).await.unwrap();
        }
        said(|said| said.is(Level::WARN, &tenant, NOBODY)).await;
        assert_eq!(all(|said| said.is(Level::WARN, &tenant, NOBODY)).len(), 1, "once in a while");
        front_end.shutdown().await.unwrap();
    }
}
