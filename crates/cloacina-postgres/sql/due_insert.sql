-- Step 2 of a flush: the deadlines (kind 0) of the new executions.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1::uuid, 0, execution.deadline, new.id, ''
FROM unnest($2::uuid[]) AS new (id)
CROSS JOIN LATERAL (
    SELECT deadline FROM workflow_executions
    WHERE tenant_id = $1 AND id = new.id AND deadline IS NOT NULL AND finished_at IS NULL
    OFFSET 0
) AS execution
ON CONFLICT DO NOTHING
