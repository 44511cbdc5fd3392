DELETE FROM ready_tasks WHERE tenant_id = ?1 AND priority = ?2 AND due_at = ?3 AND execution_id = ?4 AND task = ?5
