-- Step 2 of a flush: the ready rows of new executions that are not expanded.
INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
SELECT $1::uuid, execution.priority, execution.expands_at, new.id, 0, execution.workflow, 0
FROM unnest($2::uuid[]) AS new (id)
CROSS JOIN LATERAL (
    SELECT priority, expands_at, workflow FROM workflow_executions
    WHERE tenant_id = $1 AND id = new.id AND state = 'pending' AND expands_at IS NOT NULL
    OFFSET 0
) AS execution
ON CONFLICT DO NOTHING
