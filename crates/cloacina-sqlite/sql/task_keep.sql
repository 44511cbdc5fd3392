-- What a task has done so far, while it runs.
UPDATE task_executions SET patch = ?6, lost = 0
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'running' AND runner_id = ?4 AND attempt = ?5
