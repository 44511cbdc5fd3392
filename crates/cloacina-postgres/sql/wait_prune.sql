-- The signals, what was waited for, counted and emitted, of executions that are deleted.
WITH waits AS (
    DELETE FROM task_waits AS wait USING unnest($2::uuid[]) AS gone (id)
    WHERE wait.tenant_id = $1::uuid AND wait.execution_id = gone.id
),
children AS (
    DELETE FROM task_children AS counted USING unnest($2) AS gone (id)
    WHERE counted.tenant_id = $1 AND counted.execution_id = gone.id
),
pages AS (
    DELETE FROM task_pages AS page USING unnest($2) AS gone (id)
    WHERE page.tenant_id = $1 AND page.execution_id = gone.id
)
DELETE FROM signals AS signal USING unnest($2) AS gone (id)
WHERE signal.tenant_id = $1 AND signal.execution_id = gone.id
