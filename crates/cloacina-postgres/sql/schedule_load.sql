-- Schedules that are locked already, with the state of the execution that each started last.
SELECT schedule.*, last.state AS last_state
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, name, origin, state, reason, version, cursor_at, due_at, last_execution, spec::text AS spec, progress::text AS progress
    FROM schedules
    WHERE tenant_id = $1::uuid AND id = wanted.id
    OFFSET 0
) AS schedule
LEFT JOIN LATERAL (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = $1 AND execution.id = schedule.last_execution
    OFFSET 0
) AS last ON true
