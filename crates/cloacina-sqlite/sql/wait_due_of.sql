-- The nodes of an execution that wait, and when they are due; with each its name.
SELECT task, due_at, name FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND state = 'waiting'
