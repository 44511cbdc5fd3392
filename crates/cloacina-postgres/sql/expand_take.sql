-- Takes ready rows of executions that are not expanded, of the workflows that each tenant has (`$3`, `$4`),
-- at most `$5` of each, with the locks on the executions. Several tenants share tables. It waits for no lock.
-- What follows is a statement of its own, under these locks.
--
-- A row that is about no execution, or does not agree with its own, which a tenant may have written, is taken
-- away: it would be in the way of the others for ever. `fits` says whether it agrees. Reruns are told and
-- left.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT wanted.tenant_id, best.*
    FROM unnest($1::uuid[]) AS wanted (tenant_id)
    CROSS JOIN LATERAL (
        SELECT first.*
        FROM unnest($3::uuid[], $4::text[]) AS known (tenant_id, workflow)
        CROSS JOIN generate_series(9, 0, -1) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ctid, execution_id, priority, due_at FROM ready_tasks AS ready
            WHERE ready.tenant_id = wanted.tenant_id AND ready.fingerprint = 0
              AND ready.workflow = known.workflow AND ready.priority = level.priority
              AND ready.due_at <= (SELECT now FROM clock)
            ORDER BY ready.due_at
            LIMIT $5::bigint + 100
        ) AS first
        WHERE known.tenant_id = wanted.tenant_id
        ORDER BY first.priority DESC, first.due_at
        LIMIT $5 + 100
    ) AS best
),
picked AS MATERIALIZED (
    SELECT wanted.tenant_id, taken.*
    FROM unnest($1) AS wanted (tenant_id)
    CROSS JOIN LATERAL (
        SELECT ready.ctid, ready.execution_id, ready.workflow, execution.rerun_of IS NOT NULL AS rerun,
               execution.state = 'pending' AND execution.name = ready.workflow
                   AND coalesce(execution.expands_at <= (SELECT now FROM clock), false) AS fits
        FROM front
        CROSS JOIN LATERAL (
            SELECT state, expands_at, workflow AS name, rerun_of FROM workflow_executions
            WHERE tenant_id = front.tenant_id AND id = front.execution_id
            OFFSET 0
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS execution
        JOIN ready_tasks AS ready ON ready.ctid = front.ctid
        WHERE front.tenant_id = wanted.tenant_id
        LIMIT $5
        FOR UPDATE OF ready SKIP LOCKED
    ) AS taken
),
void AS MATERIALIZED (
    SELECT front.tenant_id, ready.ctid, ready.execution_id, ready.workflow
    FROM front
    JOIN ready_tasks AS ready ON ready.ctid = front.ctid
    WHERE NOT EXISTS (
        SELECT FROM workflow_executions AS execution
        WHERE execution.tenant_id = front.tenant_id AND execution.id = front.execution_id
        OFFSET 0
    )
    FOR UPDATE OF ready SKIP LOCKED
),
taken AS (
    DELETE FROM ready_tasks AS ready
    USING (SELECT ctid FROM picked WHERE NOT (fits AND rerun) UNION ALL SELECT ctid FROM void) AS gone
    WHERE ready.ctid = gone.ctid
)
SELECT tenant_id, execution_id AS id, workflow, fits, rerun FROM picked
UNION ALL
SELECT tenant_id, execution_id, workflow, false, false FROM void
