DELETE FROM task_attempts WHERE tenant_id = ?1 AND execution_id = ?2
