SELECT schema_name AS name, schema_name, epoch, false AS shared FROM cloacina.me() WHERE tenant_id = $1::uuid AND state = 'active'
