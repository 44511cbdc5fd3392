SELECT id, left(workflow, 1000) AS workflow, fingerprint
FROM workflow_executions AS execution
WHERE tenant_id = $1::uuid AND finished_at IS NULL AND state = 'paused' AND error = $2::text
  AND EXISTS (
    SELECT FROM unnest($3::text[], $4::bigint[]) AS known (workflow, fingerprint)
    WHERE known.workflow = execution.workflow AND known.fingerprint = execution.fingerprint
    OFFSET 0
  )
LIMIT $5::bigint
