SELECT due_at, execution_id, task, workflow, fingerprint FROM ready_tasks
WHERE tenant_id = ?1 AND priority = ?2 AND due_at <= ?3
ORDER BY due_at, execution_id, task
