-- After children were cancelled: the due row of the sweep goes, unless some of them are left.
DELETE FROM due_rows AS due
WHERE due.tenant_id = $1::uuid AND due.kind = 4 AND due.due_at <= coalesce($2::timestamptz, now()) AND due.subject = $3::uuid
  AND due.cause = coalesce($4::smallint::text, '')
  AND NOT EXISTS (
    SELECT FROM workflow_executions AS open
    WHERE open.tenant_id = $1 AND open.parent_id = $3 AND open.finished_at IS NULL AND ($4 IS NULL OR open.parent_node = $4)
      AND EXISTS (
        SELECT FROM task_children AS counted
        WHERE counted.tenant_id = $1 AND counted.execution_id = $3 AND counted.task = open.parent_node AND NOT counted.abandons
        OFFSET 0
      )
    OFFSET 0
  )
