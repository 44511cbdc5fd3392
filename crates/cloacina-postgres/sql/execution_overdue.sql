-- Executions of other workflows than these with work that nobody has claimed for long. Asked only of places where work is due and none of
-- it is for us. Of each priority those that are due for longest are looked at: a tenant may have planted more than there is time to walk.
SELECT DISTINCT first.execution_id AS id, left(first.workflow, 1000) AS workflow, first.fingerprint
FROM generate_series(0, 9) AS level (priority)
CROSS JOIN LATERAL (
    SELECT execution_id, workflow, fingerprint FROM ready_tasks AS ready
    WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority
      AND ready.due_at <= coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
      AND NOT EXISTS (
        SELECT FROM unnest($4::text[], $5::bigint[]) AS known (workflow, fingerprint)
        WHERE known.workflow = ready.workflow AND known.fingerprint = ready.fingerprint
        OFFSET 0
      )
    ORDER BY ready.due_at, ready.execution_id, ready.task
    LIMIT $6::bigint
) AS first
LIMIT $6
