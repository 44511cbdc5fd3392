-- How many bytes of context an execution has. Sizes are found without reading the values.
SELECT octet_length(input) + (
    SELECT coalesce(sum(octet_length(patch)), 0) FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2
)
FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
