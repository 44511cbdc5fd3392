SELECT task, due_at FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND state = 'ready'
