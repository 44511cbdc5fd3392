-- What a task has done so far, while it runs. Its execution is locked.
UPDATE task_executions SET patch = $6::text::json, lost = 0
WHERE tenant_id = $1::uuid AND execution_id = $2::uuid AND task = $3::smallint
  AND state = 'running' AND runner_id = $4::uuid AND attempt = $5::integer
RETURNING task
