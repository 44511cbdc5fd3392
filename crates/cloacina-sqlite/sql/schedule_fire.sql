-- What came of a time. What was noted of it before is replaced.
INSERT INTO schedule_fires (tenant_id, schedule_id, nominal_at, outcome, execution_id, missed, fired_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
ON CONFLICT (tenant_id, schedule_id, nominal_at) DO UPDATE SET
    outcome = excluded.outcome, execution_id = coalesce(excluded.execution_id, execution_id),
    missed = excluded.missed, fired_at = excluded.fired_at
