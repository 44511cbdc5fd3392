SELECT orphan.id, left(known.workflow, 1000) AS workflow, known.fingerprint
FROM unnest($3::text[], $4::bigint[]) AS known (workflow, fingerprint)
CROSS JOIN LATERAL (
    SELECT id FROM workflow_executions AS execution
    WHERE execution.tenant_id = $1::uuid AND execution.state = 'paused' AND execution.priority >= 0 AND execution.workflow = known.workflow
      AND execution.fingerprint = known.fingerprint AND execution.error = $2::text
    ORDER BY execution.id
    LIMIT $5::bigint
) AS orphan
LIMIT $5
