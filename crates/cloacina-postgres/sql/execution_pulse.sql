-- Of each execution what changes when anything of it does that is shown. Each is looked up by its key.
SELECT wanted.id, state, finished_at, superseded_by, tasks, children
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT state, finished_at, superseded_by FROM workflow_executions WHERE tenant_id = $1::uuid AND id = wanted.id
) AS execution
CROSS JOIN LATERAL (
    SELECT coalesce(sum((task + 1) * (attempt * 16.0 + failures * 8.0 + CASE state
        WHEN 'pending' THEN 1 WHEN 'waiting' THEN 2 WHEN 'ready' THEN 3 WHEN 'running' THEN 4
        WHEN 'completed' THEN 5 WHEN 'failed' THEN 6 WHEN 'skipped' THEN 7 ELSE 8 END)), 0)::float8 AS tasks
    FROM task_executions WHERE tenant_id = $1::uuid AND execution_id = wanted.id
) AS task
CROSS JOIN LATERAL (
    SELECT coalesce(sum(started * 1000003.0 + completed * 10007.0 + failed * 101.0 + parallel), 0)::float8 AS children
    FROM task_children WHERE tenant_id = $1::uuid AND execution_id = wanted.id
) AS child
