-- After executions ended: who is concerned is looked at now. Of those that are over: the schedule that
-- started one (kind 2), its parent as long as that is not over (kind 3), and its own children that are open
-- and do not outlive it (kind 4).
--
-- One that failed starts the workflow that it names for that, under a key of its own (`ON_FAILURE` in the
-- core), so once; with the id that was made for it. Not one that was started so itself, nor a child of one.
--
-- A parent counts what it is told, so it is told once: by the transaction that ended the child, which wrote
-- the row as it is. A flush that is written again finds others.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
over AS MATERIALIZED (
    SELECT candidate.id, candidate.new_id, execution.*
    FROM unnest($3::uuid[], $4::uuid[]) AS candidate (id, new_id)
    CROSS JOIN LATERAL (
        SELECT schedule_id, parent_id, has_waits, xmin = pg_current_xact_id()::xid AS is_news,
               workflow, priority, error, idempotency_key, CASE WHEN state = 'failed' THEN left(on_failure, 200) END AS starts
        FROM workflow_executions
        WHERE tenant_id = $1::uuid AND id = candidate.id AND finished_at IS NOT NULL
        OFFSET 0
    ) AS execution
),
started AS (
    INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at,
                                     idempotency_key, input_hash, expands_at)
    SELECT $1, over.new_id, over.starts, 0, 'pending', over.priority,
           json_build_object('execution_id', over.id, 'workflow', over.workflow, 'error', over.error), clock.now,
           'cloacina/on-failure/' || over.id, 0, clock.now
    FROM clock, over
    WHERE over.starts IS NOT NULL AND over.is_news
      AND NOT starts_with(coalesce(over.idempotency_key, ''), 'cloacina/on-failure/')
      AND NOT EXISTS (
        SELECT FROM workflow_executions AS parent
        WHERE parent.tenant_id = $1 AND parent.id = over.parent_id AND starts_with(parent.idempotency_key, 'cloacina/on-failure/')
        OFFSET 0
      )
    ON CONFLICT DO NOTHING
    RETURNING id, workflow, priority, expands_at
),
ready AS (
    INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
    SELECT $1, priority, expands_at, id, 0, workflow, 0 FROM started
    ON CONFLICT DO NOTHING
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, concerned.kind, clock.now, concerned.subject, concerned.cause
FROM clock, over
CROSS JOIN LATERAL (
    SELECT 2::smallint AS kind, over.schedule_id AS subject, over.id::text AS cause WHERE over.schedule_id IS NOT NULL
    UNION ALL
    SELECT 3::smallint, over.parent_id, over.id::text
    WHERE over.is_news AND EXISTS (
        SELECT FROM workflow_executions AS parent
        WHERE parent.tenant_id = $1 AND parent.id = over.parent_id AND parent.finished_at IS NULL
        OFFSET 0
    )
    UNION ALL
    SELECT 4::smallint, over.id, ''
    WHERE over.has_waits AND EXISTS (
        SELECT FROM task_children AS counted
        WHERE counted.tenant_id = $1 AND counted.execution_id = over.id AND NOT counted.abandons
          AND counted.started > counted.completed + counted.failed
        OFFSET 0
    )
) AS concerned
ON CONFLICT DO NOTHING
