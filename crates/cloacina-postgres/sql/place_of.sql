SELECT tenant_id, schema_name, state, schema_version, min_reader
FROM cloacina.tenant WHERE tenant_id = $1::uuid AND state = 'active'
