-- Takes due rows of children away, whose executions are locked.
DELETE FROM due_rows AS due
USING unnest($2::timestamptz[], $3::uuid[], $4::text[]) AS wanted (due_at, subject, cause)
CROSS JOIN LATERAL (
    SELECT ctid FROM due_rows AS taken
    WHERE taken.tenant_id = $1::uuid AND taken.kind = 3 AND taken.due_at = wanted.due_at AND taken.subject = wanted.subject
      AND taken.cause = wanted.cause
    OFFSET 0
) AS taken
WHERE due.ctid = taken.ctid
