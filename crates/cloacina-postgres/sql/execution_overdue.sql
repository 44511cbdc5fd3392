-- Executions of other workflows than these with work that nobody has claimed, or a wait or children that
-- nobody has looked at, for long. Asked only of places where work is due and none of it is for us. It goes
-- from version to version, and looks at no row of those that are known; of the others it looks at those that
-- are due for longest. A tenant may have planted more than there is time to walk.
WITH RECURSIVE version (fingerprint, workflow) AS (
    (
        SELECT fingerprint, workflow FROM ready_tasks WHERE tenant_id = $1::uuid ORDER BY fingerprint, workflow LIMIT 1
    )
    UNION ALL
    SELECT next.fingerprint, next.workflow
    FROM version
    CROSS JOIN LATERAL (
        SELECT fingerprint, workflow FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1 AND (ready.fingerprint, ready.workflow) > (version.fingerprint, version.workflow)
        ORDER BY ready.fingerprint, ready.workflow
        LIMIT 1
    ) AS next
)
SELECT DISTINCT first.execution_id AS id, left(foreign_version.workflow, 1000) AS workflow, foreign_version.fingerprint
FROM (
    SELECT * FROM (SELECT * FROM version LIMIT 10000) AS version
    WHERE NOT EXISTS (
        SELECT FROM unnest($4::text[], $5::bigint[]) AS known (workflow, fingerprint)
        WHERE known.workflow = version.workflow AND known.fingerprint = version.fingerprint
        OFFSET 0
    )
) AS foreign_version
CROSS JOIN generate_series(0, 9) AS level (priority)
CROSS JOIN LATERAL (
    SELECT execution_id FROM ready_tasks AS ready
    WHERE ready.tenant_id = $1 AND ready.fingerprint = foreign_version.fingerprint AND ready.workflow = foreign_version.workflow
      AND ready.priority = level.priority
      AND ready.due_at <= coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
    ORDER BY ready.due_at
    LIMIT $6::bigint
) AS first
UNION
-- Waits and children that nobody looks at: whoever has the code would, of executions that somebody paused
-- too.
SELECT execution.id, left(execution.workflow, 1000), execution.fingerprint
FROM (
    SELECT DISTINCT subject FROM unnest('{1,3}'::smallint[]) AS look (kind)
    CROSS JOIN LATERAL (
        SELECT subject FROM due_rows
        WHERE tenant_id = $1 AND due_rows.kind = look.kind AND due_at <= coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
        ORDER BY due_at, due_rows.subject, cause
        LIMIT $6 + 1000
    ) AS front
) AS due
CROSS JOIN LATERAL (
    SELECT id, workflow, fingerprint FROM workflow_executions AS open
    WHERE open.tenant_id = $1 AND open.id = due.subject AND open.finished_at IS NULL
    OFFSET 0
) AS execution
WHERE NOT EXISTS (
    SELECT FROM unnest($4::text[], $5::bigint[]) AS known (workflow, fingerprint)
    WHERE known.workflow = execution.workflow AND known.fingerprint = execution.fingerprint
    OFFSET 0
)
LIMIT $6
