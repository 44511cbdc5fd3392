-- The places of a database with the logins that work with their data, for an operator or an administrator.
--
--   $1  the application's login; NULL for all of them
SELECT tenant.tenant_id, name, schema_name, epoch, placement = 'host' AS shared, group_name IS NOT NULL AS own, ARRAY(
    SELECT rolname::text FROM pg_roles AS role WHERE CASE placement
        WHEN 'schema' THEN oid IN (SELECT role_oid FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id)
        -- An administrator may be in the application's role, to give it to others.
        ELSE rolname = $1::text OR $1 IS NULL AND rolcanlogin AND EXISTS (
            SELECT FROM pg_auth_members WHERE member = role.oid AND roleid = to_regrole('cloacina_app') AND NOT admin_option
        ) END
    ORDER BY rolname
) AS logins
FROM cloacina.tenant WHERE placement IN ('schema', 'host') AND state IN ('active', 'suspended', 'moving') ORDER BY schema_name
