-- The signals, what was waited for and what was counted, of executions that are deleted.
WITH waits AS (
    DELETE FROM task_waits AS wait USING unnest($2::uuid[]) AS gone (id)
    WHERE wait.tenant_id = $1::uuid AND wait.execution_id = gone.id
),
children AS (
    DELETE FROM task_children AS counted USING unnest($2) AS gone (id)
    WHERE counted.tenant_id = $1 AND counted.execution_id = gone.id
)
DELETE FROM signals AS signal USING unnest($2) AS gone (id)
WHERE signal.tenant_id = $1 AND signal.execution_id = gone.id
