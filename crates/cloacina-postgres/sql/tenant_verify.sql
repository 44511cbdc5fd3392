-- What belongs to a tenant, what it may do, and what of that reaches outside its place or into it. Reads
-- catalogs only.
WITH tenant AS MATERIALIZED (
    SELECT schema_name, group_oid, group_name, (SELECT oid FROM pg_namespace WHERE nspname = schema_name) AS schema_oid
    FROM cloacina.tenant WHERE tenant_id = $1::uuid
),
login AS MATERIALIZED (
    SELECT role_oid, role_name FROM cloacina.login WHERE tenant_id = $1
),
ours AS MATERIALIZED (
    SELECT role_oid AS oid FROM login
    UNION ALL
    SELECT group_oid FROM tenant WHERE group_oid IS NOT NULL
),
-- The roles of other tenants: what these grant is a matter of theirs.
other AS MATERIALIZED (
    SELECT role_oid AS oid FROM cloacina.login WHERE tenant_id <> $1
),
role AS MATERIALIZED (
    SELECT (SELECT oid FROM pg_roles WHERE rolname = 'cloacina_owner') AS owner,
           (SELECT oid FROM pg_roles WHERE rolname = 'cloacina_engine') AS engine,
           (SELECT oid FROM pg_roles WHERE rolname = 'cloacina_tenant') AS tenant
),
class AS MATERIALIZED (
    SELECT class.oid, relname, relkind, relowner, relacl,
           relname IN ('workflow_executions', 'task_executions', 'ready_tasks', 'due_rows', 'task_waits', 'task_children', 'signals', 'execution_tags', 'task_pages', 'schedules', 'schedule_fires', 'task_attempts') AND relkind = 'r'
           OR relname IN ('v_executions', 'v_tasks') AND relkind = 'v' AS is_engine,
           -- The tenant's own data, if there is any: what an administrator made as the owner. Which tables
           -- these should be knows who declared them.
           relowner IS NOT DISTINCT FROM role.owner AND to_regclass(format('%I.cloacina_data_migration', schema_name)) IS NOT NULL
           AND (relkind IN ('r', 'p') OR relkind = 'S' AND EXISTS (
               SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = class.oid AND refobjsubid > 0 AND deptype IN ('a', 'i'))) AS is_data
    FROM pg_class AS class JOIN tenant ON relnamespace = schema_oid, role
),
member AS MATERIALIZED (
    -- Before version 16 a membership always inherits. Since then whoever makes a role is its administrator
    -- without being in it.
    SELECT roleid, member, coalesce((to_jsonb(pg_auth_members) ->> 'inherit_option')::boolean, true)
           OR coalesce((to_jsonb(pg_auth_members) ->> 'set_option')::boolean, true) AS is_in
    FROM pg_auth_members
),
-- A privilege on an object of this schema, to whom it is granted.
granted AS MATERIALIZED (
    SELECT format('table %I', relname) AS object, is_engine, acl.grantee, acl.privilege_type, acl.is_grantable
    FROM class, aclexplode(relacl) AS acl WHERE relkind IN ('r', 'v', 'm', 'f', 'p', 'S')
    UNION ALL
    SELECT format('schema %I', nspname), true, acl.grantee, acl.privilege_type, acl.is_grantable
    FROM pg_namespace JOIN tenant ON pg_namespace.oid = schema_oid, aclexplode(nspacl) AS acl
),
finding (what) AS (
    SELECT format('the schema %I is missing', schema_name) FROM tenant WHERE schema_oid IS NULL
    UNION ALL
    SELECT format('the group %I is missing or is another role', group_name) FROM tenant
    WHERE group_oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = group_oid AND rolname = group_name)
    UNION ALL
    SELECT format('the login %I is missing or is another role', role_name) FROM login
    WHERE NOT EXISTS (SELECT FROM pg_roles WHERE oid = role_oid AND rolname = role_name)
    UNION ALL
    -- Who they are.
    SELECT format('the role %I has an attribute that no tenant may have (SUPERUSER, CREATEDB, CREATEROLE, REPLICATION or BYPASSRLS)', rolname)
    FROM pg_roles JOIN ours USING (oid) WHERE rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls
    UNION ALL
    SELECT format('the group %I can log in', rolname) FROM pg_roles JOIN tenant ON oid = group_oid WHERE rolcanlogin
    UNION ALL
    SELECT format('%I is a member of %I', pg_get_userbyid(member), pg_get_userbyid(roleid))
    FROM member JOIN ours ON ours.oid = member.member, role, tenant
    WHERE NOT (member.member = group_oid AND roleid = role.tenant)
      AND NOT (roleid = group_oid AND member.member IN (SELECT role_oid FROM login))
    UNION ALL
    SELECT format('%I is a member of the tenant''s %I', pg_get_userbyid(member), pg_get_userbyid(roleid))
    FROM member JOIN ours ON ours.oid = member.roleid, tenant
    WHERE is_in AND NOT (roleid = group_oid AND member IN (SELECT role_oid FROM login))
    UNION ALL
    -- What they have anywhere in the cluster. A tenant owns nothing, and is granted nothing but its own
    -- schema and tables.
    SELECT format('%I owns %s in %s', pg_get_userbyid(refobjid),
                  CASE WHEN dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                      THEN pg_describe_object(classid, objid, objsubid) ELSE 'something' END,
                  coalesce('database ' || (SELECT quote_ident(datname) FROM pg_database WHERE oid = dbid), 'all databases'))
    FROM pg_shdepend JOIN ours ON ours.oid = refobjid
    WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
    UNION ALL
    SELECT format('%I has rights on %s in %s', pg_get_userbyid(refobjid),
                  CASE WHEN dbid = 0 OR dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                      THEN pg_describe_object(classid, objid, objsubid) ELSE 'something' END,
                  coalesce('database ' || (SELECT quote_ident(datname) FROM pg_database WHERE oid = dbid), 'all databases'))
    FROM pg_shdepend AS dependency JOIN ours ON ours.oid = refobjid, tenant
    WHERE refclassid = 'pg_authid'::regclass AND deptype <> 'o'
      AND NOT (
        dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND deptype = 'a' AND objsubid = 0
        AND refobjid = group_oid
        AND (classid = 'pg_namespace'::regclass AND objid = schema_oid
             OR classid = 'pg_class'::regclass AND EXISTS (SELECT FROM class WHERE class.oid = objid AND is_engine))
      )
      AND NOT (
        dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND deptype = 'a' AND refobjid = group_oid
        AND classid = 'pg_class'::regclass AND EXISTS (SELECT FROM class WHERE class.oid = objid AND is_data)
      )
      AND NOT (
        dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND deptype = 'a' AND CASE classid
            WHEN 'pg_largeobject'::regclass THEN (SELECT lomowner FROM pg_largeobject_metadata WHERE oid = objid) IN (SELECT oid FROM other)
            WHEN 'pg_default_acl'::regclass THEN (SELECT defaclrole FROM pg_default_acl WHERE oid = objid) IN (SELECT oid FROM other)
            ELSE false END
      )
    UNION ALL
    SELECT format('%s is granted to the tenant on its own %s', privilege_type || CASE WHEN is_grantable THEN ' with grant option' ELSE '' END, object)
    FROM granted JOIN ours ON ours.oid = grantee
    WHERE is_grantable OR NOT CASE WHEN object LIKE 'schema %' THEN privilege_type = 'USAGE'
        ELSE privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') END
    UNION ALL
    -- Who else reaches in.
    SELECT format('%s on %s is granted to %s', privilege_type, object, CASE grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(grantee)) END)
    FROM granted, role, tenant
    WHERE grantee <> role.owner AND grantee <> role.engine AND grantee IS DISTINCT FROM group_oid AND grantee NOT IN (SELECT oid FROM ours)
    UNION ALL
    SELECT format('%s is granted to the operator on %s', privilege_type, object) FROM granted, role
    WHERE grantee = role.engine
      AND NOT CASE WHEN object LIKE 'schema %' THEN privilege_type = 'USAGE' ELSE privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE') END
    UNION ALL
    SELECT format('the schema %I belongs to %I', nspname, pg_get_userbyid(nspowner))
    FROM pg_namespace JOIN tenant ON pg_namespace.oid = schema_oid, role WHERE group_oid IS NOT NULL AND nspowner <> role.owner
    UNION ALL
    SELECT format('%I in the schema belongs to %I', relname, pg_get_userbyid(relowner)) FROM class, role, tenant
    WHERE group_oid IS NOT NULL AND relowner <> role.owner
    UNION ALL
    -- What could run code where others work.
    SELECT format('there is %s %I in the schema', CASE relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
                  WHEN 'p' THEN 'a partitioned table' WHEN 'S' THEN 'a sequence' WHEN 'c' THEN 'a type' ELSE 'an unknown table' END, relname)
    FROM class WHERE NOT is_engine AND NOT is_data AND relkind NOT IN ('i', 'I', 't')
    UNION ALL
    SELECT format('there is a function %s', pg_proc.oid::regprocedure) FROM pg_proc JOIN tenant ON pronamespace = schema_oid
    UNION ALL
    SELECT format('there is an operator %s', pg_operator.oid::regoperator) FROM pg_operator JOIN tenant ON oprnamespace = schema_oid
    UNION ALL
    SELECT format('there is a type %s', pg_type.oid::regtype) FROM pg_type JOIN tenant ON typnamespace = schema_oid
    WHERE typrelid = 0 AND NOT EXISTS (SELECT FROM pg_type AS row JOIN class ON class.oid = row.typrelid WHERE row.typarray = pg_type.oid)
    UNION ALL
    SELECT format('there is a trigger %I on %I', tgname, relname) FROM pg_trigger JOIN class ON class.oid = tgrelid WHERE NOT tgisinternal
    UNION ALL
    SELECT format('there is a rule %I on %I', rulename, relname) FROM pg_rewrite JOIN class ON class.oid = ev_class WHERE relkind <> 'v'
    UNION ALL
    SELECT format('there is a policy %I on %I', polname, relname) FROM pg_policy JOIN class ON class.oid = polrelid
    UNION ALL
    SELECT format('there is a cast from or to %s', type.oid::regtype) FROM pg_cast
    JOIN pg_type AS type ON type.oid IN (castsource, casttarget) JOIN tenant ON typnamespace = schema_oid
    UNION ALL
    SELECT format('default privileges of %s give %s on new objects to %s', quote_ident(pg_get_userbyid(defaclrole)), acl.privilege_type,
                  CASE acl.grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END)
    FROM pg_default_acl, aclexplode(defaclacl) AS acl, role, tenant
    WHERE acl.grantee <> defaclrole AND defaclrole NOT IN (SELECT oid FROM other)
      AND (defaclrole = role.owner OR defaclnamespace = schema_oid OR acl.grantee IN (SELECT oid FROM ours))
    UNION ALL
    -- Where the logins get by what is open to everybody.
    SELECT format('%I can use the schema %I of another tenant', role_name, other.schema_name)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, cloacina.tenant AS other JOIN pg_namespace ON nspname = other.schema_name
    WHERE other.tenant_id <> $1 AND other.state <> 'removed' AND has_schema_privilege(role_oid, pg_namespace.oid, 'USAGE')
    UNION ALL
    SELECT format('%I can use the table cloacina.%I', role_name, relname)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_class
    WHERE relnamespace = 'cloacina'::regnamespace AND relkind = 'r'
      AND has_table_privilege(role_oid, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
    UNION ALL
    SELECT format('%I can make objects in the schema %I%s', role_name, nspname,
                  CASE nspname WHEN 'public' THEN ' (REVOKE CREATE ON SCHEMA public FROM PUBLIC;)' ELSE '' END)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_namespace
    WHERE nspname !~ '^pg_(toast_)?temp_' AND has_schema_privilege(role_oid, pg_namespace.oid, 'CREATE')
    UNION ALL
    SELECT format('%I can make temporary tables (REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;)', role_name, current_database())
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid WHERE has_database_privilege(role_oid, current_database(), 'TEMPORARY')
    UNION ALL
    SELECT format('%I can run %s with the rights of %I', role_name, pg_proc.oid::regprocedure, pg_get_userbyid(proowner))
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
    WHERE prosecdef AND nspname NOT IN ('pg_catalog', 'information_schema', 'cloacina')
      AND has_schema_privilege(role_oid, pg_namespace.oid, 'USAGE') AND has_function_privilege(role_oid, pg_proc.oid, 'EXECUTE')
    UNION ALL
    SELECT format('%I can run %s', role_name, pg_proc.oid::regprocedure)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_proc
    WHERE (proname LIKE 'dblink%' OR proname IN ('pg_read_file', 'pg_read_binary_file', 'pg_ls_dir', 'pg_stat_file', 'lo_import', 'lo_export'))
      AND has_function_privilege(role_oid, pg_proc.oid, 'EXECUTE')
    UNION ALL
    SELECT format('%I can take advisory locks, as many as there are, or make large objects (REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC;)', role_name,
                  string_agg(function, ', ' ORDER BY function))
    FROM (
        SELECT role_name, pg_proc.oid::regprocedure::text AS function
        FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace AND (proname ~ '^pg_(try_)?advisory_' OR proname IN ('lo_creat', 'lo_create', 'lo_from_bytea'))
          AND has_function_privilege(role_oid, pg_proc.oid, 'EXECUTE')
    ) AS open GROUP BY role_name
    UNION ALL
    SELECT format('%I can use the foreign server %I', role_name, srvname)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_foreign_server WHERE has_server_privilege(role_oid, pg_foreign_server.oid, 'USAGE')
    UNION ALL
    SELECT format('%I can use the foreign-data wrapper %I', role_name, fdwname)
    FROM login JOIN pg_roles ON pg_roles.oid = role_oid, pg_foreign_data_wrapper
    WHERE has_foreign_data_wrapper_privilege(role_oid, pg_foreign_data_wrapper.oid, 'USAGE')
)
SELECT 'object' AS kind, format('schema %I', schema_name) AS what FROM tenant WHERE schema_oid IS NOT NULL
UNION ALL
SELECT 'object', format('%s %I, owned by %I', CASE relkind WHEN 'r' THEN 'table' WHEN 'i' THEN 'index' ELSE 'relation' END, relname, pg_get_userbyid(relowner)) FROM class
UNION ALL
SELECT 'object', format('role %I', rolname) FROM pg_roles JOIN ours USING (oid)
UNION ALL
SELECT 'privilege', format('%s on %s to %s', string_agg(privilege_type, ', ' ORDER BY privilege_type), object,
                           CASE grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM granted GROUP BY object, grantee
UNION ALL
SELECT 'membership', format('%I in %I', pg_get_userbyid(member), pg_get_userbyid(roleid)) FROM member
WHERE is_in AND (member IN (SELECT oid FROM ours) OR roleid IN (SELECT oid FROM ours))
UNION ALL
SELECT 'default', format('%I: %s', pg_get_userbyid(setrole), array_to_string(setconfig, ', ')) FROM pg_db_role_setting JOIN ours ON ours.oid = setrole
UNION ALL
SELECT 'finding', what FROM finding
ORDER BY 1, 2
