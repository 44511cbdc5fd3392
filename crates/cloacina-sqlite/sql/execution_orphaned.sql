SELECT id, workflow, fingerprint
FROM workflow_executions INDEXED BY workflow_executions_listed
WHERE tenant_id = ?1 AND state = 'paused' AND error = ?2
  AND (workflow, fingerprint) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
LIMIT ?4
