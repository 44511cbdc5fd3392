SELECT schema_name FROM cloacina.tenant WHERE tenant_id = $1::uuid AND state = 'active'
