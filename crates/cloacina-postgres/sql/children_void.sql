-- Takes due rows of children away that are about no execution, or about one that is over.
DELETE FROM due_rows AS due
USING (
    SELECT void.ctid
    FROM unnest($2::timestamptz[], $3::uuid[], $4::text[]) AS wanted (due_at, subject, cause)
    JOIN due_rows AS void ON void.tenant_id = $1::uuid AND void.kind = 3 AND void.due_at = wanted.due_at
      AND void.subject = wanted.subject AND void.cause = wanted.cause
    WHERE NOT EXISTS (
        SELECT FROM workflow_executions AS open
        WHERE open.tenant_id = $1 AND open.id = void.subject AND open.finished_at IS NULL
        OFFSET 0
    )
    FOR UPDATE OF void SKIP LOCKED
) AS void
WHERE due.ctid = void.ctid
RETURNING due.subject
