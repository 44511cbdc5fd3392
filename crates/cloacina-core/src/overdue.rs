//! What is due in a place and not done.

use std::sync::Arc;

use crate::error::Error;
use crate::runner::PlaceRunner;
use crate::schedule::decide;
use crate::store::{Budget, FireRecord, ScheduleRecord, ScheduleSelection, ScheduleState};

/// What is due in a tenant's place and not done: what begins at once when somebody works there. See
/// [`PlaceRunner::overdue`](crate::PlaceRunner::overdue).
///
/// Numbers are counted up to [`TenantMetrics::MOST_COUNTED`](crate::TenantMetrics::MOST_COUNTED).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Overdue {
    /// The schedules that have something to do, by their names.
    pub schedules: Vec<OverdueSchedule>,
    /// How many waits are over, or have to be looked at: sleeps end, and signals did not come in time.
    pub waits: u64,
    /// How many executions have a deadline that has passed: they are cancelled.
    pub deadlines: u64,
    /// How many tasks may start.
    pub tasks: u64,
}

/// What a schedule has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverdueSchedule {
    /// Its name.
    pub name: String,
    /// What comes of its times, by its rules for what was missed and for what overlaps: the first 1,000.
    pub fires: Vec<FireRecord>,
}

impl PlaceRunner {
    /// What is due and not done: what begins at once when somebody works for this tenant. Where somebody
    /// does, that is next to nothing; where the tenant is suspended, or its place was [put
    /// back](crate::RunnerConfig::after_restore), it is what the next moment brings.
    ///
    /// Work that follows from it is not in it: the tasks after a wait, say. It locks the schedules for a
    /// moment, and counts rows.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Place`](crate::ErrorKind::Place) and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) for what is wrong with the database.
    pub async fn overdue(&self) -> Result<Overdue, Error> {
        let (hub, place) = (self.open_hub()?, self.open_place());
        let look = |settling: &mut decide::Settling, records: Vec<ScheduleRecord>, now| {
            let is_due = |record: &ScheduleRecord| {
                record.row.state == ScheduleState::Active && record.row.due_at.is_some_and(|due| due <= now)
            };
            let of_one = |record: ScheduleRecord| {
                let name = record.row.name.clone();
                let changes = decide::settle(*settling, vec![record], now, &mut Budget::default());
                let fires = changes.into_iter().flat_map(|change| change.fires);
                let fires: Vec<_> =
                    fires.map(|fire| FireRecord { execution: None, ..FireRecord::new(&fire, now) }).collect();
                (!fires.is_empty()).then_some(OverdueSchedule { name, fires })
            };
            // Nothing is written.
            Ok((Vec::new(), records.into_iter().filter(is_due).filter_map(of_one).collect::<Vec<_>>()))
        };
        let least = self.settings().min_schedule_period;
        let schedules = hub.change_schedules(place, ScheduleSelection::All, least, None, look).await?;
        let (store, inner, now) =
            (Arc::clone(hub.store()), Arc::clone(&place.place), hub.clock().database_now());
        let figures = hub.ask(async move { store.place_figures(&inner, now).await }).await?;
        Ok(Overdue {
            schedules,
            waits: figures.due_waits,
            deadlines: figures.due_deadlines,
            tasks: figures.queued,
        })
    }

    /// Lets a place go on that was [put back](crate::RunnerConfig::after_restore) from a backup: what is
    /// [overdue](Self::overdue) begins. One that is at work already goes on as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown).
    pub fn resume_after_restore(&self) -> Result<(), Error> {
        self.open_hub()?.release(self.open_place());
        Ok(())
    }
}
