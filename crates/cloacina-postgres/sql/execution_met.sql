-- The executions that were recorded under the idempotency keys of these.
SELECT new.id AS new_id, known.id, known.input_hash
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS new (id, workflow, key)
CROSS JOIN LATERAL (
    SELECT id, input_hash FROM workflow_executions
    WHERE tenant_id = $1::uuid AND workflow = new.workflow AND idempotency_key = new.key
    OFFSET 0
) AS known
