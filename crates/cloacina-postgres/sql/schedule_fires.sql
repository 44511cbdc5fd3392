-- What came of the times of a schedule, the latest first, with the states of the executions.
SELECT fire.nominal_at, fire.outcome, fire.execution_id, fire.missed, fire.fired_at, execution.state
FROM (
    SELECT * FROM schedule_fires
    WHERE tenant_id = $1::uuid AND schedule_id = $2::uuid AND nominal_at >= $3::timestamptz AND nominal_at < $4::timestamptz
    ORDER BY nominal_at DESC
    LIMIT $5::bigint
) AS fire
LEFT JOIN LATERAL (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = $1 AND execution.id = fire.execution_id
    OFFSET 0
) AS execution ON true
ORDER BY fire.nominal_at DESC
