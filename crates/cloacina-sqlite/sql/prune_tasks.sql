DELETE FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2
