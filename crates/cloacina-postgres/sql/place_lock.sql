SELECT schema_version, min_reader FROM cloacina.tenant WHERE tenant_id = $1::uuid FOR UPDATE
