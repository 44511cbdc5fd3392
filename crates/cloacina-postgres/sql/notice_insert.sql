-- Tells every process that executions were cancelled, paused or resumed.
INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
SELECT $1::uuid, execution, coalesce($2::timestamptz, now()) FROM unnest($3::uuid[]) AS execution
