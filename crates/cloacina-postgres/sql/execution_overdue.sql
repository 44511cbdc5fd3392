-- Executions with work that nobody has claimed for long. Asked only of places where work is due and none of it is for us.
SELECT DISTINCT execution_id AS id, left(workflow, 1000) AS workflow, fingerprint
FROM ready_tasks AS ready
WHERE tenant_id = $1::uuid AND priority >= 0
  AND due_at <= coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
  AND NOT EXISTS (
    SELECT FROM unnest($4::text[], $5::bigint[]) AS known (workflow, fingerprint)
    WHERE known.workflow = ready.workflow AND known.fingerprint = ready.fingerprint
    OFFSET 0
  )
LIMIT $6::bigint
