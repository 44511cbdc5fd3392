-- Step 2 of a flush: the deadlines of the new executions.
INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
SELECT $1::uuid, -1, execution.deadline, execution.id, -1, execution.workflow, execution.fingerprint
FROM unnest($2::uuid[]) AS new (id)
JOIN workflow_executions AS execution ON execution.tenant_id = $1 AND execution.id = new.id
WHERE execution.deadline IS NOT NULL AND execution.finished_at IS NULL
ON CONFLICT DO NOTHING
