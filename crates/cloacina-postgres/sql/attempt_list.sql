-- Attempts that were followed by another one, and the latest ones, which the tasks' own rows record. A task
-- that was skipped or cancelled without having been run has no latest attempt. Once their errors have 64 MiB
-- together, those that follow are cut short.
WITH attempts AS MATERIALIZED (
    SELECT task.task, task.name, attempt.attempt, attempt.runner_id, attempt.outcome, attempt.error, attempt.started_at, attempt.finished_at
    FROM task_attempts AS attempt
    JOIN task_executions AS task
      ON task.tenant_id = $1 AND task.execution_id = attempt.execution_id AND task.task = attempt.task
    WHERE attempt.tenant_id = $1::uuid AND attempt.execution_id = $2::uuid
    UNION ALL
    SELECT task, name, attempt, runner_id, coalesce(outcome, 'running'),
           CASE WHEN outcome IN ('failed', 'panicked', 'timed_out') THEN error END, started_at, finished_at
    FROM task_executions
    WHERE tenant_id = $1 AND execution_id = $2 AND attempt > 0 AND (outcome IS NOT NULL OR state = 'running')
    ORDER BY task, attempt
    LIMIT 100000
)
SELECT task, left(name, 1000) AS name, attempt, runner_id, outcome, started_at, finished_at,
       left(error, CASE WHEN sum(least(octet_length(error), 262144)) OVER (ORDER BY task, attempt) <= 67108864 THEN 65536 ELSE 100 END) AS error
FROM attempts
ORDER BY task, attempt
