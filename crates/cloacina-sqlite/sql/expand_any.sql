SELECT EXISTS (
    SELECT 1 FROM workflow_executions INDEXED BY workflow_executions_unexpanded
    WHERE tenant_id = ?1 AND expands_at IS NOT NULL AND state = 'pending' AND expands_at >= 0
)
