-- Takes away the due rows of schedules that are locked. One that was taken before is gone already.
DELETE FROM due_rows AS due
USING unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS was (tenant_id, id, due_at)
CROSS JOIN LATERAL (
    SELECT ctid FROM due_rows AS waiting
    WHERE waiting.tenant_id = was.tenant_id AND waiting.kind = 2 AND waiting.due_at = was.due_at
      AND waiting.subject = was.id AND waiting.cause = ''
    OFFSET 0
) AS waiting
WHERE due.ctid = waiting.ctid
