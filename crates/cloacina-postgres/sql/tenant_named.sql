-- The tenants that the operator calls by this name, or all of them; the latest of each.
SELECT name, schema_name, epoch, state, tenant_id, placement, EXISTS (SELECT FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id) AS has_login
FROM cloacina.tenant AS tenant
WHERE state <> 'removed' AND placement <> 'host' AND ($1::text IS NULL OR lower(name) = lower($1))
ORDER BY name
