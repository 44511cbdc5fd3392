DELETE FROM task_children WHERE tenant_id = ?1 AND execution_id = ?2
