-- `execution_lock`, for places whose rows lie in the same tables. They come by tenant, and those of a tenant
-- by id.
SELECT execution.id, execution.state
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT id, state FROM workflow_executions WHERE tenant_id = wanted.tenant_id AND id = wanted.id
    OFFSET 0
    FOR NO KEY UPDATE
) AS execution
