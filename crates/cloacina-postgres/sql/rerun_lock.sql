-- Before reruns are recorded: locks the executions whose places they take, in the order of their ids, in a
-- statement of its own.
SELECT execution.id, execution.state, execution.superseded_by
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, state, superseded_by FROM workflow_executions WHERE tenant_id = $1::uuid AND id = wanted.id
    OFFSET 0
    FOR NO KEY UPDATE
) AS execution
