SELECT id, parent_node, item, state FROM workflow_executions
WHERE tenant_id = $1::uuid AND parent_id = $2::uuid AND (parent_node, item) > ($3::smallint, $4::bigint) AND parent_node <= $5::smallint
ORDER BY parent_node, item
LIMIT $6::bigint
