-- A child of an execution. A conflict is a file that somebody else wrote to.
INSERT INTO workflow_executions (
    tenant_id, id, workflow, fingerprint, state, priority, created_at, deadline, expands_at, parent_id, parent_node, item, input, on_failure
) VALUES (?1, ?2, ?3, ?4, 'pending', ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
ON CONFLICT DO NOTHING
