-- The executions whose deadline has passed, the earliest first.
SELECT execution_id
FROM ready_tasks
WHERE tenant_id = $1::uuid AND priority = -1 AND due_at <= coalesce($2::timestamptz, now())
ORDER BY due_at, execution_id, task
LIMIT 1000
