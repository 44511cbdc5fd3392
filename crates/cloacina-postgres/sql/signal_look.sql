-- What there is for a signal in the execution that `signal_lock` locked: whether its key came before, how
-- many signals wait to be taken, its number, and the open wait that takes it.
WITH target AS MATERIALIZED (
    SELECT id FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = coalesce($2::uuid, (
        SELECT id FROM workflow_executions WHERE tenant_id = $1 AND workflow = $3::text AND idempotency_key = $4::text
    ))
)
SELECT
    $6::text IS NOT NULL AND EXISTS (
        SELECT FROM signals WHERE tenant_id = $1 AND execution_id = target.id AND name = $5::text AND key = $6
    ) AS repeated,
    (
        SELECT count(*) FROM (
            SELECT FROM signals WHERE tenant_id = $1 AND execution_id = target.id AND taken_by IS NULL LIMIT $7::bigint
        ) AS kept
    ) AS kept,
    (
        SELECT coalesce(max(number), 0) + 1 FROM signals
        WHERE tenant_id = $1 AND execution_id = target.id AND name = $5 AND number < 9223372036854775807
    ) AS number,
    wait.task, wait.ask
FROM target
LEFT JOIN LATERAL (
    SELECT begun.task, begun.ask::text AS ask
    FROM task_waits AS begun
    JOIN task_executions AS node ON node.tenant_id = $1 AND node.execution_id = target.id AND node.task = begun.task
    WHERE begun.tenant_id = $1 AND begun.execution_id = target.id AND begun.signal = $5 AND node.state = 'waiting'
    ORDER BY begun.task
    LIMIT 1
) AS wait ON true
