-- What an administrator's login may do, and what is there already.
SELECT current_setting('server_version_num')::integer AS server_version,
       me.rolname::text AS me, me.rolsuper AS is_superuser, me.rolcreaterole AS may_create_roles,
       me.rolcreatedb AS may_create_databases,
       has_database_privilege(current_database(), 'CREATE') AS may_create_schemas,
       (SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'cloacina') AS control_owner,
       coalesce((SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = 'cloacina'), true) AS member_of_control_owner,
       ARRAY(
           SELECT rolname::text FROM pg_roles WHERE rolname IN ('cloacina_owner', 'cloacina_engine', 'cloacina_tenant', 'cloacina_app', 'cloacina_reader') ORDER BY rolname
       ) AS roles,
       -- Those that the login may not grant: from version 16 on that takes the ADMIN option.
       ARRAY(
           SELECT rolname::text FROM pg_roles AS role
           WHERE rolname IN ('cloacina_owner', 'cloacina_engine', 'cloacina_tenant', 'cloacina_app', 'cloacina_reader') AND NOT me.rolsuper
             AND current_setting('server_version_num')::integer >= 160000
             AND NOT EXISTS (
               SELECT FROM pg_auth_members WHERE roleid = role.oid AND member = me.oid AND admin_option
             )
           ORDER BY rolname
       ) AS roles_not_ours,
       EXISTS (
           SELECT FROM pg_auth_members JOIN pg_roles AS role ON role.oid = roleid
           WHERE role.rolname = 'cloacina_owner' AND member = me.oid
       ) AS member_of_owner,
       pg_has_role((SELECT datdba FROM pg_database WHERE datname = current_database()), 'MEMBER') AS owns_database,
       has_database_privilege('public', current_database(), 'TEMPORARY') AS public_temporary,
       coalesce((SELECT has_schema_privilege('public', oid, 'CREATE') FROM pg_namespace WHERE nspname = 'public'), false) AS public_create,
       coalesce((SELECT pg_has_role(nspowner, 'MEMBER') FROM pg_namespace WHERE nspname = 'public'), false) AS owns_public,
       has_database_privilege('public', current_database(), 'CONNECT') AS public_connect,
       -- By which any login can take all locks that the server has, or leave what only a superuser can drop.
       -- Who cannot connect cannot call them.
       ARRAY(
           SELECT pg_proc.oid::regprocedure::text FROM pg_proc
           WHERE pronamespace = 'pg_catalog'::regnamespace
             AND (proname ~ '^pg_(try_)?advisory_' OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea'))
             AND has_function_privilege('public', pg_proc.oid, 'EXECUTE') AND has_database_privilege('public', current_database(), 'CONNECT')
           ORDER BY 1
       ) AS open_functions,
       -- Where tenants' logins have no business. Databases in which `cloacina_owner` has something have
       -- tenants of their own, and administrators.
       ARRAY(
           SELECT datname::text FROM pg_database
           WHERE datallowconn AND datname <> current_database() AND has_database_privilege('public', pg_database.oid, 'CONNECT')
             AND has_database_privilege('public', current_database(), 'CONNECT')
             AND NOT EXISTS (
               SELECT FROM pg_shdepend WHERE dbid = pg_database.oid AND refclassid = 'pg_authid'::regclass AND refobjid = to_regrole('cloacina_owner')
             )
           ORDER BY 1
       ) AS open_databases
FROM pg_roles AS me WHERE me.rolname = current_user
