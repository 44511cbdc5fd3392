-- Schedules that are locked already, with the state of the execution that each started last, and with those
-- of its backfill that are not over. One that is not there is over: it met its key, or is pruned.
SELECT wanted.tenant_id, schedule.*, last.state AS last_state, ARRAY(
    SELECT open.id
    FROM unnest(schedule.backfilling) AS started (id)
    CROSS JOIN LATERAL (
        SELECT id FROM workflow_executions
        WHERE tenant_id = wanted.tenant_id AND id = started.id AND finished_at IS NULL
        OFFSET 0
    ) AS open
) AS open
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT id, name, origin, state, reason, version, cursor_at, due_at, last_execution, backfilling, spec::text AS spec, progress::text AS progress
    FROM schedules
    WHERE tenant_id = wanted.tenant_id AND id = wanted.id
    OFFSET 0
) AS schedule
LEFT JOIN LATERAL (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = wanted.tenant_id AND execution.id = schedule.last_execution
    OFFSET 0
) AS last ON true
