SELECT id, parent_node, item, state FROM workflow_executions
WHERE tenant_id = ?1 AND parent_id = ?2 AND (parent_node, item) > (?3, ?4) AND parent_node <= ?5
ORDER BY parent_node, item LIMIT ?6
