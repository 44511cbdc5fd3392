-- Locks a rerun that is not expanded, and takes its ready row away. What follows is a statement of its own,
-- under this lock.
WITH locked AS MATERIALIZED (
    SELECT id, priority, expands_at FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = $2::uuid AND state = 'pending' AND expands_at IS NOT NULL
    FOR NO KEY UPDATE
),
taken AS (
    DELETE FROM ready_tasks AS ready
    USING locked
    WHERE ready.tenant_id = $1 AND ready.priority = locked.priority AND ready.due_at = locked.expands_at
      AND ready.execution_id = locked.id AND ready.task = 0
)
SELECT id FROM locked
