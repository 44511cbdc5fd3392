-- One dependency less. With the last one a wait (?6) waits; a task becomes running under ?5, if it is wanted
-- (?5 is not null), otherwise ready.
UPDATE task_executions
SET waiting_on = waiting_on - 1,
    state = CASE WHEN waiting_on > 1 THEN 'pending' WHEN ?6 THEN 'waiting' WHEN ?5 IS NULL THEN 'ready' ELSE 'running' END,
    due_at = CASE WHEN waiting_on > 1 THEN due_at ELSE ?4 END,
    runner_id = CASE WHEN waiting_on > 1 THEN runner_id ELSE ?5 END,
    attempt = CASE WHEN waiting_on > 1 OR ?5 IS NULL THEN attempt ELSE min(attempt, 2147483646) + 1 END,
    started_at = CASE WHEN waiting_on > 1 OR (?5 IS NULL AND NOT ?6) THEN started_at ELSE ?4 END
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'pending'
RETURNING waiting_on, attempt
