UPDATE task_executions SET due_at = ?4 WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'waiting'
