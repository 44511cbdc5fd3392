-- Notes what came of times of schedules, after their executions were recorded: one that is not there met its
-- key. What was noted of a time before is replaced.
INSERT INTO schedule_fires (tenant_id, schedule_id, nominal_at, outcome, execution_id, missed, fired_at)
SELECT new.tenant_id, new.schedule_id, new.nominal_at,
       CASE WHEN new.outcome = 'started' AND execution.id IS NULL THEN 'repeated' ELSE new.outcome END,
       execution.id, new.missed, coalesce($2::timestamptz, now())
FROM unnest($1::uuid[], $3::uuid[], $4::timestamptz[], $5::text[], $6::uuid[], $7::integer[])
         AS new (tenant_id, schedule_id, nominal_at, outcome, execution_id, missed)
LEFT JOIN LATERAL (
    SELECT id FROM workflow_executions WHERE tenant_id = new.tenant_id AND id = new.execution_id
    OFFSET 0
) AS execution ON true
ON CONFLICT (tenant_id, schedule_id, nominal_at) DO UPDATE SET
    outcome = excluded.outcome, execution_id = coalesce(excluded.execution_id, schedule_fires.execution_id),
    missed = excluded.missed, fired_at = excluded.fired_at
