SELECT id, left(workflow, 1000) AS workflow, fingerprint
FROM workflow_executions
WHERE tenant_id = $1::uuid AND finished_at IS NULL AND state = 'paused' AND error = $2::text
LIMIT 1000
