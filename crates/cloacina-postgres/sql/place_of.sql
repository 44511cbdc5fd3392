SELECT CASE placement WHEN 'shared' THEN name ELSE schema_name END AS name, placement = 'shared' AS shared
FROM cloacina.tenant WHERE tenant_id = $1::uuid AND state = 'active' AND placement <> 'host'
