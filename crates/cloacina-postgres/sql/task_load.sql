-- No workflow has more tasks than this, and what a tenant wrote may have any number.
SELECT execution_id, task, name, state, attempt, failures, lost, runner_id, started_at, finished_at, patch::text AS patch, error,
       skip_reason, handled
FROM task_executions
WHERE tenant_id = $1::uuid AND execution_id = ANY ($2::uuid[]) AND task < 10000
ORDER BY execution_id, task
