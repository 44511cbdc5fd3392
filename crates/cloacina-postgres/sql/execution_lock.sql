-- Step 3 of a flush, and the first step of whatever else changes tasks: a statement of its own, so that the snapshot of the
-- next one sees what the lock's last holder wrote. The order of ids keeps two flushes from waiting for each other.
SELECT execution.id, execution.state
FROM workflow_executions AS execution
WHERE execution.tenant_id = $1::uuid AND execution.id = ANY ($2::uuid[])
ORDER BY execution.id
FOR NO KEY UPDATE
