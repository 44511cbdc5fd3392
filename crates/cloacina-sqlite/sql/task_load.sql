-- No workflow has more tasks than this. On names and errors see `execution_headers`.
SELECT iif(octet_length(name) <= 4000, name, 'a name of ' || octet_length(name) || ' bytes'), state, attempt, failures, lost, runner_id, started_at, finished_at,
       patch, iif(octet_length(error) <= 262144, error, 'an error of ' || octet_length(error) || ' bytes, which is not read'),
       skip_reason, handled, task
FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND task < 10000 ORDER BY task
