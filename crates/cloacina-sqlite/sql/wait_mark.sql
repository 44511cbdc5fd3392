-- An execution has begun to wait, or a wait of it ended (?3), or it got a signal.
UPDATE workflow_executions
SET has_waits = 1, state = CASE WHEN state IN ('pending', 'waiting') AND ?3 IS NOT NULL THEN 'running' ELSE state END,
    started_at = coalesce(started_at, ?3)
WHERE tenant_id = ?1 AND id = ?2 AND (has_waits = 0 OR state IN ('pending', 'waiting') OR started_at IS NULL)
