-- The attempts that another one followed, and the latest of each task where it is told by the task's own row.
-- A wait has none. On names and errors see `execution_headers`; once the errors have 64 MiB together, those
-- that follow are not read either.
SELECT name, attempt, runner_id, outcome,
       iif(bytes <= 262144 AND sum(bytes) OVER (ORDER BY position, attempt) <= 67108864, error, 'an error of ' || bytes || ' bytes, which is not read'),
       started_at, finished_at
FROM (
    SELECT iif(octet_length(t.name) <= 4000, t.name, 'a name of ' || octet_length(t.name) || ' bytes') AS name, a.attempt, a.runner_id, a.outcome,
           iif(octet_length(a.error) <= 262144, a.error, NULL) AS error, octet_length(a.error) AS bytes, a.started_at, a.finished_at, a.task AS position
    FROM task_attempts AS a
    JOIN task_executions AS t ON t.tenant_id = a.tenant_id AND t.execution_id = a.execution_id AND t.task = a.task
    WHERE a.tenant_id = ?1 AND a.execution_id = ?2
    UNION ALL
    SELECT iif(octet_length(name) <= 4000, name, 'a name of ' || octet_length(name) || ' bytes'), attempt, runner_id, coalesce(outcome, 'running'),
           iif(state = 'failed' AND octet_length(error) <= 262144, error, NULL), iif(state = 'failed', octet_length(error), NULL), started_at, finished_at, task
    FROM task_executions
    WHERE tenant_id = ?1 AND execution_id = ?2 AND attempt > 0 AND (state = 'running' OR outcome IS NOT NULL)
    ORDER BY position, attempt
    LIMIT 100000
)
ORDER BY position, attempt
