-- The newest of one state and one workflow. For a page of several, that many of each are looked at.
SELECT id FROM workflow_executions INDEXED BY workflow_executions_listed
WHERE tenant_id = ?1 AND state = ?2 AND workflow = ?3 AND (parent_id IS NULL) = 1 AND id < ?4
ORDER BY id DESC LIMIT ?5
