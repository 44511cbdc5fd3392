DELETE FROM task_waits WHERE tenant_id = ?1 AND execution_id = ?2
