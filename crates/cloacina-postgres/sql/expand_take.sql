-- Takes ready rows of executions that are not expanded, of the workflows of these names, with the locks on
-- the executions. It waits for no lock. What follows is a statement of its own, under these locks.
--
-- A row that is about no execution, or does not agree with its own, which a tenant may have written, is taken
-- away: it would be in the way of the others for ever. `fits` says whether it agrees. Reruns are told and
-- left.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT first.*
    FROM unnest($3::text[]) AS known (workflow)
    CROSS JOIN generate_series(9, 0, -1) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT ctid, execution_id, priority, due_at FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1::uuid AND ready.fingerprint = 0 AND ready.workflow = known.workflow
          AND ready.priority = level.priority AND ready.due_at <= (SELECT now FROM clock)
        ORDER BY ready.due_at
        LIMIT $4::bigint + 100
    ) AS first
    ORDER BY first.priority DESC, first.due_at
    LIMIT $4 + 100
),
picked AS MATERIALIZED (
    SELECT ready.ctid, ready.execution_id, ready.workflow, execution.rerun_of IS NOT NULL AS rerun,
           execution.state = 'pending' AND execution.name = ready.workflow
               AND coalesce(execution.expands_at <= (SELECT now FROM clock), false) AS fits
    FROM front
    CROSS JOIN LATERAL (
        SELECT state, expands_at, workflow AS name, rerun_of FROM workflow_executions
        WHERE tenant_id = $1 AND id = front.execution_id
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS execution
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    LIMIT $4
    FOR UPDATE OF ready SKIP LOCKED
),
void AS MATERIALIZED (
    SELECT ready.ctid, ready.execution_id, ready.workflow
    FROM front
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    WHERE NOT EXISTS (
        SELECT FROM workflow_executions AS execution
        WHERE execution.tenant_id = $1 AND execution.id = front.execution_id
        OFFSET 0
    )
    FOR UPDATE OF ready SKIP LOCKED
),
taken AS (
    DELETE FROM ready_tasks AS ready
    USING (SELECT ctid FROM picked WHERE NOT (fits AND rerun) UNION ALL SELECT ctid FROM void) AS gone
    WHERE ready.ctid = gone.ctid
)
SELECT execution_id AS id, workflow, fits, rerun FROM picked
UNION ALL
SELECT execution_id, workflow, false, false FROM void
