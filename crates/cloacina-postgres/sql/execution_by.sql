-- Who submitted new executions. One that met an idempotency key has no row under the id that was sent.
UPDATE workflow_executions AS execution SET submitted_by = new.by
FROM unnest($2::uuid[], $3::text[]) AS new (id, by)
WHERE execution.tenant_id = $1::uuid AND execution.id = new.id
