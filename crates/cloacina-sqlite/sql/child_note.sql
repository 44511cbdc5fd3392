-- An execution has children.
UPDATE workflow_executions SET has_waits = 1 WHERE tenant_id = ?1 AND id = ?2 AND has_waits = 0
