SELECT name, state, attempt, failures, lost, runner_id, started_at, finished_at, patch, error, skip_reason, handled,
       task
FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 ORDER BY task
