-- Open children that are not to outlive their parent; of one node if ?3 is not null.
SELECT child.id FROM workflow_executions AS child INDEXED BY workflow_executions_open_children
WHERE child.tenant_id = ?1 AND child.parent_id = ?2 AND child.finished_at IS NULL AND child.parent_node BETWEEN coalesce(?3, 0) AND coalesce(?3, 32767)
  AND EXISTS (
    SELECT 1 FROM task_children AS counted
    WHERE counted.tenant_id = ?1 AND counted.execution_id = ?2 AND counted.task = child.parent_node AND counted.abandons = 0
  )
LIMIT ?4
