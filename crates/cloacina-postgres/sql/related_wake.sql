-- After executions ended: who is concerned is looked at now. Of those that are over: the schedule that started
-- one (kind 2), its parent as long as that is not over (kind 3), and its own children that are open and do not
-- outlive it (kind 4).
--
-- A parent counts what it is told, so it is told once: by the transaction that ended the child, which wrote the
-- row as it is. A flush that is written again finds others.
WITH over AS MATERIALIZED (
    SELECT candidate.id, execution.*
    FROM unnest($3::uuid[]) AS candidate (id)
    CROSS JOIN LATERAL (
        SELECT schedule_id, parent_id, has_waits, xmin = pg_current_xact_id()::xid AS is_news FROM workflow_executions
        WHERE tenant_id = $1::uuid AND id = candidate.id AND finished_at IS NOT NULL
        OFFSET 0
    ) AS execution
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1, concerned.kind, coalesce($2::timestamptz, now()), concerned.subject, concerned.cause
FROM over
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
