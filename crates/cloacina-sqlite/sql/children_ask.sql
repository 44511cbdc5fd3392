-- The children of an execution are looked at, if it has begun to wait for any.
INSERT OR IGNORE INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT ?1, 3, ?3, ?2, '' WHERE EXISTS (SELECT 1 FROM task_children WHERE tenant_id = ?1 AND execution_id = ?2)
