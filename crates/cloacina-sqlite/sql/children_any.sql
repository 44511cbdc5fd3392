-- Whether an execution has begun to wait for children.
SELECT 1 FROM task_children WHERE tenant_id = ?1 AND execution_id = ?2 LIMIT 1
