INSERT INTO cloacina.audit (tenant_id, schema_name, action, actor, role, object, reason, detail, at)
VALUES ($1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, coalesce($9::timestamptz, clock_timestamp()))
