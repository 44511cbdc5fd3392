//! The schedules of a place.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloacina_core::id::{ExecutionId, ScheduleId};
use cloacina_core::store::{
    Budget, Decide, DueKind, FireList, FireOutcome, FireRecord, Idempotency, NewExecution, ScheduleChange,
    ScheduleRecord, ScheduleRow, ScheduleSelection, ScheduledExecution, SchedulesSettled, WorkflowKey,
};
use cloacina_core::workflow::Fingerprint;
use jiff::Timestamp;
use uuid::Uuid;

use super::place::{DueRow, PlaceRows, Writer};

/// How much is kept of what came of a schedule's times.
const KEPT: usize = 1_000;

impl PlaceRows {
    pub(super) fn settle_schedules(
        &mut self,
        limit: usize,
        now: Timestamp,
        decide: &Decide,
    ) -> SchedulesSettled {
        let is_due = |row: &&DueRow| row.0 == DueKind::Schedule.number() && row.1 <= now;
        let due: Vec<DueRow> = self.due.iter().filter(is_due).take(limit).cloned().collect();
        let mut records: BTreeMap<ScheduleId, ScheduleRecord> = BTreeMap::new();
        for row in &due {
            self.due.remove(row);
            let id = ScheduleId(row.2.0);
            let Some(known) = self.schedules.rows.get(&id) else { continue };
            let record = records.entry(id).or_insert_with(|| self.found(known));
            let ended = Uuid::try_parse(&row.3).ok().and_then(|id| self.executions.get(&ExecutionId(id)));
            if let Some(ended) =
                ended.filter(|ended| ended.schedule == Some(id) && ended.header.status.is_terminal())
            {
                record.ended.push((ended.header.id, ended.header.status));
            }
        }
        let changes = decide(records.into_values().collect(), now, &mut Budget::default());
        SchedulesSettled { taken: due.len(), ..self.write_schedules(changes, now) }
    }

    pub(super) fn change_schedules(
        &mut self,
        selection: &ScheduleSelection,
        now: Timestamp,
        decide: &Decide,
    ) -> SchedulesSettled {
        let changes = decide(self.list_schedules(selection), now, &mut Budget::default());
        self.write_schedules(changes, now)
    }

    pub(super) fn list_schedules(&self, selection: &ScheduleSelection) -> Vec<ScheduleRecord> {
        let is_meant = |row: &&ScheduleRow| match selection {
            ScheduleSelection::All => true,
            ScheduleSelection::Named(names) => names.contains(&row.name),
            ScheduleSelection::Applied { origin, names } => {
                names.contains(&row.name) || row.origin.as_ref() == Some(origin)
            }
        };
        let mut records: Vec<_> =
            self.schedules.rows.values().filter(is_meant).map(|row| self.found(row)).collect();
        records.sort_by(|one, other| one.row.name.cmp(&other.row.name));
        records
    }

    fn found(&self, row: &ScheduleRow) -> ScheduleRecord {
        let last = row.last_execution.and_then(|id| self.executions.get(&id));
        let mut row = row.clone();
        row.backfilling.retain(|id| {
            self.executions.get(id).is_some_and(|execution| !execution.header.status.is_terminal())
        });
        ScheduleRecord { row, last_status: last.map(|execution| execution.header.status), ended: Vec::new() }
    }

    pub(super) fn list_fires(&self, list: &FireList) -> Vec<FireRecord> {
        let range = (list.schedule, list.from)..(list.schedule, list.before);
        let fires = self.schedules.fires.range(range).rev().map(|(_, fire)| fire.clone());
        let with_status = fires.map(|mut fire| {
            fire.status = fire
                .execution
                .and_then(|id| self.executions.get(&id))
                .map(|execution| execution.header.status);
            fire
        });
        with_status.take(list.limit).collect()
    }

    fn write_schedules(&mut self, changes: Vec<ScheduleChange>, now: Timestamp) -> SchedulesSettled {
        let mut settled = SchedulesSettled::default();
        for change in changes {
            let due_row =
                |due: Timestamp| (DueKind::Schedule.number(), due, ExecutionId(change.id.0), String::new());
            for id in change.cancels {
                let is_open =
                    |id| self.executions.get(id).is_some_and(|open| !open.header.status.is_terminal());
                if is_open(&id) {
                    self.cancel(id, "its schedule has started the next one", now);
                    settled.cancelled.push(id);
                }
            }
            if let Some(was) = change.was_due_at {
                self.due.remove(&due_row(was));
            }
            let Some(row) = change.row else {
                self.schedules.rows.remove(&change.id);
                self.schedules.fires.retain(|(id, _), _| *id != change.id);
                continue;
            };
            if let Some(due) = row.due_at {
                self.due.insert(due_row(due));
                self.ring(due);
            }
            self.schedules.rows.insert(change.id, row);
            let started: Vec<ExecutionId> = change
                .starts
                .iter()
                .filter(|start| {
                    let is_new = self.start_scheduled(start, now);
                    if !is_new {
                        // It is over before it began.
                        let cause = start.id.to_string();
                        let subject = ExecutionId(start.schedule.0);
                        self.due.insert((DueKind::Schedule.number(), now, subject, cause));
                        self.ring(now);
                    }
                    is_new
                })
                .map(|start| start.id)
                .collect();
            settled.started += started.len();
            for mut fire in change.fires {
                if !fire.execution.is_some_and(|id| started.contains(&id)) {
                    fire.execution = None;
                    if fire.outcome == FireOutcome::Started {
                        fire.outcome = FireOutcome::Repeated;
                    }
                }
                let mut record = FireRecord::new(&fire, now);
                let known = self.schedules.fires.get(&(change.id, fire.nominal));
                record.execution = record.execution.or_else(|| known.and_then(|known| known.execution));
                self.schedules.fires.insert((change.id, fire.nominal), record);
            }
            if change.prunes {
                let of = (change.id, Timestamp::MIN)..=(change.id, Timestamp::MAX);
                let old: Vec<_> =
                    self.schedules.fires.range(of).rev().skip(KEPT).map(|(key, _)| *key).collect();
                for key in old {
                    self.schedules.fires.remove(&key);
                }
            }
        }
        settled
    }

    fn start_scheduled(&mut self, start: &ScheduledExecution, now: Timestamp) -> bool {
        let new = NewExecution {
            id: start.id,
            workflow: WorkflowKey { name: start.workflow.as_str().into(), fingerprint: Fingerprint::UNKNOWN },
            priority: start.priority,
            input: start.input.clone(),
            idempotency: Some(Idempotency { key: start.key.clone(), input_hash: 0 }),
            start_at: None,
            deadline: None,
            tasks: Arc::default(),
            claimed: Vec::new(),
            submitter: None,
            tags: Vec::new(),
            submitted_by: None,
            on_failure: start.on_failure.as_deref().map(Into::into),
            rerun: None,
            child: None,
        };
        let is_new = self.submit(Writer { runner: None, now }, &new);
        if let Some(execution) = self.executions.get_mut(&start.id).filter(|_| is_new) {
            execution.schedule = Some(start.schedule);
        }
        is_new
    }
}
