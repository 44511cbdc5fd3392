-- Step 2 of a flush: the deadlines of the new executions.
INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
SELECT $1::uuid, -1, execution.deadline, new.id, -1, execution.workflow, execution.fingerprint
FROM unnest($2::uuid[]) AS new (id)
CROSS JOIN LATERAL (
    SELECT deadline, workflow, fingerprint FROM workflow_executions
    WHERE tenant_id = $1 AND id = new.id AND deadline IS NOT NULL AND finished_at IS NULL
    OFFSET 0
) AS execution
ON CONFLICT DO NOTHING
