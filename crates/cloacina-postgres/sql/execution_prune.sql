-- Deletes executions that ended long ago, the oldest end first, with all that belongs to them. A finished row
-- changes only when it is rerun: what is locked for that goes another time.
WITH old AS MATERIALIZED (
    SELECT id, tags FROM workflow_executions
    WHERE tenant_id = $1::uuid AND finished_at < coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
    ORDER BY finished_at
    LIMIT $4::bigint
    FOR UPDATE SKIP LOCKED
),
attempts AS (
    DELETE FROM task_attempts AS attempt USING old WHERE attempt.tenant_id = $1 AND attempt.execution_id = old.id
),
tags AS (
    DELETE FROM execution_tags AS tagged
    USING old CROSS JOIN LATERAL unnest(old.tags) AS its (tag)
    WHERE tagged.tenant_id = $1 AND tagged.tag = its.tag AND tagged.execution_id = old.id
),
tasks AS (
    DELETE FROM task_executions AS task USING old WHERE task.tenant_id = $1 AND task.execution_id = old.id
)
DELETE FROM workflow_executions AS execution USING old
WHERE execution.tenant_id = $1 AND execution.id = old.id
RETURNING execution.id, execution.has_waits
