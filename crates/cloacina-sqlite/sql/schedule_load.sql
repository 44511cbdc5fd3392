-- A schedule, with the state of the execution that it started last.
SELECT id, name, origin, state, reason, version, cursor_at, due_at, last_execution, spec, progress, (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = ?1 AND execution.id = schedules.last_execution
), backfilling
FROM schedules WHERE tenant_id = ?1 AND id = ?2
