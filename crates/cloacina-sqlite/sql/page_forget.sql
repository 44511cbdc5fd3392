DELETE FROM task_pages WHERE tenant_id = ?1 AND execution_id = ?2
