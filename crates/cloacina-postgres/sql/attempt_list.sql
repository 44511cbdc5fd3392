-- Attempts that were followed by another one, and the latest ones, which the tasks' own rows record. A task that was skipped
-- or cancelled without having been run has no latest attempt.
SELECT task.task, left(task.name, 1000) AS name, attempt.attempt, attempt.runner_id, attempt.outcome, left(attempt.error, 65536) AS error, attempt.started_at,
       attempt.finished_at
FROM task_attempts AS attempt
JOIN task_executions AS task
  ON task.tenant_id = $1 AND task.execution_id = attempt.execution_id AND task.task = attempt.task
WHERE attempt.tenant_id = $1::uuid AND attempt.execution_id = $2::uuid
UNION ALL
SELECT task, left(name, 1000), attempt, runner_id, coalesce(outcome, 'running'),
       CASE WHEN outcome IN ('failed', 'panicked', 'timed_out') THEN left(error, 65536) END, started_at, finished_at
FROM task_executions
WHERE tenant_id = $1 AND execution_id = $2 AND (outcome IS NOT NULL OR state = 'running')
ORDER BY 1, 3
LIMIT 100000
