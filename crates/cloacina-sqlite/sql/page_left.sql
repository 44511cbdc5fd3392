-- What other attempts of a task emitted.
DELETE FROM task_pages WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND attempt <> ?4
