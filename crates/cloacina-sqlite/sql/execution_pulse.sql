-- What changes when anything of an execution does that is shown.
SELECT state, finished_at, superseded_by,
       (SELECT total((task + 1) * (attempt * 16 + failures * 8 + CASE state
            WHEN 'pending' THEN 1 WHEN 'waiting' THEN 2 WHEN 'ready' THEN 3 WHEN 'running' THEN 4
            WHEN 'completed' THEN 5 WHEN 'failed' THEN 6 WHEN 'skipped' THEN 7 ELSE 8 END))
        FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2),
       (SELECT total(started * 1000003 + completed * 10007 + failed * 101 + parallel)
        FROM task_children WHERE tenant_id = ?1 AND execution_id = ?2)
FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
