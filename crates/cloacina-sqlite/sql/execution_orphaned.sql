SELECT id, workflow, fingerprint
FROM workflow_executions INDEXED BY workflow_executions_finished
WHERE tenant_id = ?1 AND finished_at IS NULL AND state = 'paused' AND error = ?2
  AND (workflow, fingerprint) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
LIMIT ?4
