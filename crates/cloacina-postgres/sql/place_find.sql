SELECT tenant_id, schema_name, state, schema_version, min_reader FROM cloacina.tenant WHERE lower(schema_name) = lower($1::text)
