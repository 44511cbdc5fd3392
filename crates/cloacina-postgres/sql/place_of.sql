SELECT name, schema_name, epoch, placement = 'shared' AS shared
FROM cloacina.tenant WHERE tenant_id = $1::uuid AND state = 'active' AND placement IN ('schema', 'shared')
