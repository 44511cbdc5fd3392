-- Those of these due rows of children that are still there. Whoever takes one has its execution locked.
SELECT wanted.subject, count(*) AS rows
FROM unnest($2::timestamptz[], $3::uuid[], $4::text[]) AS wanted (due_at, subject, cause)
CROSS JOIN LATERAL (
    SELECT FROM due_rows AS due
    WHERE due.tenant_id = $1::uuid AND due.kind = 3 AND due.due_at = wanted.due_at AND due.subject = wanted.subject
      AND due.cause = wanted.cause
    OFFSET 0
) AS due
GROUP BY wanted.subject
