UPDATE task_executions
SET state = ?4, outcome = ?5, finished_at = ?6, patch = coalesce(?7, patch), error = coalesce(?8, error), skip_reason = ?9,
    failures = min(failures, 2147483646) + (?4 = 'failed')
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'running' AND runner_id = ?10 AND attempt = ?11
