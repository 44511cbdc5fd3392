-- Records a signal of an execution that is locked.
WITH marked AS (
    UPDATE workflow_executions SET has_waits = true WHERE tenant_id = $1::uuid AND id = $2::uuid AND NOT has_waits
)
INSERT INTO signals (tenant_id, execution_id, name, number, key, payload, received_at)
VALUES ($1, $2, $3::text, $4::bigint, $5::text, $6::text::json, coalesce($7::timestamptz, now()))
ON CONFLICT DO NOTHING
