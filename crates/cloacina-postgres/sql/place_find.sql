-- The latest of its name: the row of one that was removed counts only if there is no other.
SELECT tenant_id, name, schema_name, epoch, state, schema_version, min_reader, removed_at,
       EXISTS (SELECT FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id) AS has_login, NULL::integer AS control_version,
       placement = 'database' AS elsewhere
FROM cloacina.tenant WHERE lower(schema_name) = lower($1::text) AND placement <> 'shared'
ORDER BY epoch DESC LIMIT 1
