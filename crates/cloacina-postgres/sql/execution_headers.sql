SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, rerun_of, superseded_by, has_waits, left(submitted_by, 200) AS submitted_by, tags, left(error, 65536) AS error
FROM workflow_executions
WHERE tenant_id = $1::uuid AND id = ANY ($2::uuid[])
ORDER BY id
