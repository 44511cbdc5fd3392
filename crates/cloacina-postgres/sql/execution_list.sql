-- Newest first: ids made later sort later. An empty list of states and a missing name stand for any.
SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, left(error, 65536) AS error
FROM workflow_executions
WHERE tenant_id = $1::uuid AND id < $2::uuid
  AND (cardinality($3::text[]) = 0 OR state = ANY ($3))
  AND ($4::text IS NULL OR workflow = $4)
ORDER BY id DESC
LIMIT $5::bigint
