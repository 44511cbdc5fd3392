-- How many executions wait; it stops counting at the number that the caller wants to know of.
SELECT count(*) FROM (
    SELECT 1 FROM workflow_executions INDEXED BY workflow_executions_listed
    WHERE tenant_id = ?1 AND state = 'waiting' LIMIT ?2
)
