-- A child that is over. By its id alone: among all children of its parent it would take as long as there are
-- many.
SELECT parent_node, item, state, iif(octet_length(error) <= 4000, error, substr(error, 1, 1000))
FROM workflow_executions
WHERE tenant_id = ?1 AND id = ?2 AND +parent_id = ?3 AND finished_at IS NOT NULL
