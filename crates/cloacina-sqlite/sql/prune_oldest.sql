-- When the execution ended that has been kept longest, of those that ended like this.
SELECT finished_at FROM workflow_executions
WHERE tenant_id = ?1 AND state = ?2 AND finished_at IS NOT NULL AND parent_id IS NULL
ORDER BY finished_at LIMIT 1
