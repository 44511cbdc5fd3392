-- A page of what a task emits, while it runs.
INSERT INTO task_pages (tenant_id, execution_id, task, attempt, name, first, items)
SELECT ?1, ?2, ?3, ?5, ?6, ?7, ?8 FROM task_executions
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'running' AND runner_id = ?4 AND attempt = ?5
ON CONFLICT (tenant_id, execution_id, task, attempt, name, first) DO UPDATE SET items = excluded.items
