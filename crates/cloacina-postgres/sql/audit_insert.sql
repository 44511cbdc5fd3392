INSERT INTO cloacina.audit (action, tenant_id, schema_name, detail, actor, role, reason)
VALUES ($1::text, $2::uuid, $3::text, $4::text, coalesce($5::text, session_user), $6::text, $7::text)
