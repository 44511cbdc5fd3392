-- A new execution becomes a child of a task.
UPDATE workflow_executions SET parent_id = ?3, parent_node = ?4, item = ?5 WHERE tenant_id = ?1 AND id = ?2
