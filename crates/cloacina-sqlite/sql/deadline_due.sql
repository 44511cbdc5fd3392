SELECT due_at, execution_id FROM ready_tasks
WHERE tenant_id = ?1 AND priority = -1 AND due_at <= ?2
ORDER BY due_at, execution_id LIMIT ?3
