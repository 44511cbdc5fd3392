SELECT schema_name FROM cloacina.me() WHERE tenant_id = $1::uuid AND state = 'active'
