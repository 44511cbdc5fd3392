-- Attempts that were followed by another one, and the latest ones, which the tasks' own rows record. A task that was skipped
-- or cancelled without having been run has no latest attempt.
SELECT task.task, task.name, attempt.attempt, attempt.runner_id, attempt.outcome, attempt.error, attempt.started_at,
       attempt.finished_at
FROM task_attempts AS attempt
JOIN task_executions AS task
  ON task.tenant_id = $1 AND task.execution_id = attempt.execution_id AND task.task = attempt.task
WHERE attempt.tenant_id = $1::uuid AND attempt.execution_id = $2::uuid
UNION ALL
SELECT task, name, attempt, runner_id, coalesce(outcome, 'running'),
       CASE WHEN outcome IN ('failed', 'panicked', 'timed_out') THEN error END, started_at, finished_at
FROM task_executions
WHERE tenant_id = $1 AND execution_id = $2 AND (outcome IS NOT NULL OR state = 'running')
ORDER BY 1, 3
