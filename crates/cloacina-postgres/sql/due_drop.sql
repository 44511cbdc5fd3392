-- After step 5 of a flush, for executions that may have due rows: those of them that are over have nothing
-- due any more. On the ctids see `task_record`.
DELETE FROM due_rows AS due
USING unnest($2::uuid[]) AS candidate (id)
CROSS JOIN LATERAL (
    SELECT deadline FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = candidate.id AND finished_at IS NOT NULL AND deadline IS NOT NULL
    OFFSET 0
) AS execution
CROSS JOIN LATERAL (
    SELECT ctid FROM due_rows AS waiting
    WHERE waiting.tenant_id = $1 AND waiting.kind = 0 AND waiting.due_at = execution.deadline
      AND waiting.subject = candidate.id AND waiting.cause = ''
    OFFSET 0
) AS waiting
WHERE due.ctid = waiting.ctid
