-- A tenant by its schema, or by its name if it has none in this database, locked for an administrator; the
-- latest of that name.
SELECT tenant_id, name, schema_name, placement, state, epoch, group_name, group_oid,
       (SELECT rolname::text FROM pg_roles WHERE oid = group_oid) AS group_there,
       ARRAY(SELECT role_name FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id ORDER BY created_at) AS logins,
       ARRAY(SELECT role_name FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id AND ends_at IS NULL) AS current_logins
FROM cloacina.tenant AS tenant
WHERE placement = 'schema' AND schema_name = $1::text OR placement IN ('shared', 'database') AND name = $1
ORDER BY state = 'removed', epoch DESC LIMIT 1
FOR UPDATE
