-- After children were cancelled: the due row of the sweep goes, unless some of them are left. By the same
-- conditions as in `sweep_take`.
DELETE FROM due_rows AS due
WHERE due.tenant_id = $1::uuid AND due.kind = 4 AND due.due_at <= coalesce($2::timestamptz, now()) AND due.subject = $3::uuid
  AND due.cause = $5::text
  AND NOT EXISTS (
    SELECT FROM workflow_executions AS open
    WHERE open.tenant_id = $1 AND open.parent_id = $3 AND open.finished_at IS NULL AND ($4::smallint IS NULL OR open.parent_node = $4)
      AND EXISTS (
        SELECT FROM task_children AS counted
        WHERE counted.tenant_id = $1 AND counted.execution_id = $3 AND counted.task = open.parent_node AND NOT counted.abandons
        OFFSET 0
      )
      AND (
        EXISTS (
          SELECT FROM workflow_executions AS parent
          WHERE parent.tenant_id = $1 AND parent.id = $3 AND parent.finished_at IS NOT NULL
          OFFSET 0
        ) OR EXISTS (
          SELECT FROM task_executions AS node
          WHERE node.tenant_id = $1 AND node.execution_id = $3 AND node.task = open.parent_node AND node.finished_at IS NOT NULL
          OFFSET 0
        )
      )
    OFFSET 0
  )
RETURNING due.subject
