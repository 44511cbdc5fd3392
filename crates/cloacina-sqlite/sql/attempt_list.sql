-- The attempts that another one followed, and the latest of each task where it is told by the task's own row.
SELECT t.name, a.attempt, a.runner_id, a.outcome, a.error, a.started_at, a.finished_at, a.task AS position
FROM task_attempts AS a
JOIN task_executions AS t ON t.tenant_id = a.tenant_id AND t.execution_id = a.execution_id AND t.task = a.task
WHERE a.tenant_id = ?1 AND a.execution_id = ?2
UNION ALL
SELECT name, attempt, runner_id, coalesce(outcome, 'running'), CASE state WHEN 'failed' THEN error END, started_at, finished_at, task
FROM task_executions
WHERE tenant_id = ?1 AND execution_id = ?2 AND (state = 'running' OR outcome IS NOT NULL)
ORDER BY position, attempt
