-- What new executions start when they fail. One that met an idempotency key has no row under the id that was
-- sent.
UPDATE workflow_executions AS execution SET on_failure = new.on_failure
FROM unnest($2::uuid[], $3::text[]) AS new (id, on_failure)
WHERE execution.tenant_id = $1::uuid AND execution.id = new.id
