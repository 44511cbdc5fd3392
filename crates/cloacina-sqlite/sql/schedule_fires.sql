-- What came of the times of a schedule, the latest first, with the states of the executions.
SELECT nominal_at, outcome, execution_id, missed, fired_at, (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = ?1 AND execution.id = schedule_fires.execution_id
)
FROM schedule_fires
WHERE tenant_id = ?1 AND schedule_id = ?2 AND nominal_at >= ?3 AND nominal_at < ?4
ORDER BY nominal_at DESC LIMIT ?5
