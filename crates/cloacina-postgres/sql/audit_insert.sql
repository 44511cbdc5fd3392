INSERT INTO cloacina.audit (action, tenant_id, schema_name, detail) VALUES ($1::text, $2::uuid, $3::text, $4::text)
