-- The workflow after this one of which there are executions in a state.
SELECT workflow FROM workflow_executions INDEXED BY workflow_executions_listed
WHERE tenant_id = ?1 AND state = ?2 AND workflow > ?3
ORDER BY workflow LIMIT 1
