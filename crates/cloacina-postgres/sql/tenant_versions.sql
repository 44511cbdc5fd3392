-- Which version the tables of each place have, or of one. Those of a tenant with a database of its own say
-- that there.
SELECT tenant.name, tenant.schema_name, tenant.placement = 'database' AS elsewhere,
       coalesce(host.schema_version, tenant.schema_version) AS schema_version, coalesce(host.min_reader, tenant.min_reader) AS min_reader
FROM cloacina.tenant AS tenant
LEFT JOIN cloacina.tenant AS host ON tenant.placement = 'shared' AND host.placement = 'host'
WHERE tenant.state NOT IN ('removed', 'removing', 'creating') AND tenant.placement <> 'host' AND ($1::text IS NULL OR tenant.name = $1)
ORDER BY tenant.name
