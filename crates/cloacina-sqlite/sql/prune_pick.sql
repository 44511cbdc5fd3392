-- The oldest end first. Children go with the execution that all of them come from.
SELECT id FROM workflow_executions
WHERE tenant_id = ?1 AND finished_at < ?2 AND parent_id IS NULL
ORDER BY finished_at LIMIT ?3
