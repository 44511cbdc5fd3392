-- What the login that works with tenants' data can do beside that. Reads catalogs only.
--
--   $1  the schema                      $4  the operator's login, where that is another one
--   $2  `schema`, `login`, `shared` or  $5  the functions that were declared
--       `reader`
--   $3  the login
WITH RECURSIVE login AS MATERIALIZED (
    SELECT role.oid, rolname, rolsuper, to_regnamespace(quote_ident($1::text))::oid AS schema_oid, to_regrole('cloacina_owner')::oid AS owner,
           -- The role that its rights are granted to.
           CASE $2::text
               WHEN 'shared' THEN to_regrole('cloacina_app')::oid
               WHEN 'reader' THEN to_regrole('cloacina_reader')::oid
               ELSE (
                   SELECT min(of_login.roleid) FROM pg_auth_members AS of_login JOIN pg_auth_members AS of_group ON of_group.member = of_login.roleid
                   WHERE of_login.member = role.oid AND of_group.roleid = to_regrole('cloacina_tenant')
               )
           END AS working
    FROM pg_roles AS role WHERE rolname = $3::text
),
-- What follows is about logins that the database itself keeps to their tenants.
kept AS MATERIALIZED (SELECT * FROM login WHERE $2 <> 'schema'),
ours AS MATERIALIZED (SELECT oid FROM kept UNION ALL SELECT working FROM kept WHERE working IS NOT NULL),
member AS MATERIALIZED (
    -- Before version 16 a membership always inherits. Since then whoever makes a role is its administrator
    -- without being in it.
    SELECT roleid, member FROM pg_auth_members
    WHERE coalesce((to_jsonb(pg_auth_members) ->> 'inherit_option')::boolean, true) OR coalesce((to_jsonb(pg_auth_members) ->> 'set_option')::boolean, true)
),
-- As whom the login may act.
acting (oid) AS (
    SELECT oid FROM kept
    UNION
    SELECT roleid FROM acting JOIN pg_auth_members ON member = acting.oid
),
-- The roles of tenants with logins of their own. What one of them grants of what it has is a matter of its
-- own place.
tenant (oid) AS (
    SELECT member FROM pg_auth_members WHERE roleid = to_regrole('cloacina_tenant') AND EXISTS (SELECT FROM kept)
    UNION
    SELECT member FROM tenant JOIN pg_auth_members ON roleid = tenant.oid
),
-- The schemas that the login can use, or make objects in. Asked of each by name, the server would keep every
-- one of them in memory.
usable AS MATERIALIZED (
    SELECT pg_namespace.oid, nspname, bool_or(privilege_type = 'USAGE') AS is_usable, bool_or(privilege_type = 'CREATE') AS is_open,
           bool_or(privilege_type = 'CREATE' AND grantee = 0) AS is_open_to_all
    FROM pg_namespace, aclexplode(nspacl)
    WHERE (grantee = 0 OR grantee IN (SELECT oid FROM acting)) AND EXISTS (SELECT FROM kept)
    GROUP BY pg_namespace.oid, nspname
),
-- Functions that are not the server's own, and that the login can run.
runnable AS MATERIALIZED (
    SELECT pg_proc.oid, proname, prosecdef, proowner, prolang, nspname,
           (SELECT refobjid FROM pg_depend WHERE classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'e') AS extension
    FROM kept, usable JOIN pg_proc ON pronamespace = usable.oid
    WHERE is_usable AND pg_proc.oid >= 16384 AND has_function_privilege(kept.oid, pg_proc.oid, 'EXECUTE')
),
-- Who they are, and what is only a consequence of it.
cause (fatal, what, remedy) AS (
    SELECT false, format('the login %I is a superuser: nothing but the gate keeps its statements from other places, files and programs', rolname),
           'use a login without that attribute'
    FROM login WHERE $2 = 'schema' AND rolsuper
    UNION ALL
    SELECT true, format('the login %I is missing', $3), 'let an administrator make it' WHERE NOT EXISTS (SELECT FROM login)
    UNION ALL
    SELECT true, format('the role %I has an attribute that it must not have (SUPERUSER, BYPASSRLS, CREATEROLE, CREATEDB or REPLICATION)', rolname),
           format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION', rolname)
    FROM pg_roles JOIN ours USING (oid) WHERE rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
    UNION ALL
    -- The operator's login signs, and reads every tenant's engine tables; row security counts for it as well.
    SELECT true, format('the operator''s login %I is a superuser or has BYPASSRLS', operator.rolname),
           format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS', operator.rolname)
    FROM pg_roles AS operator, kept WHERE operator.rolname = $4::text AND (operator.rolsuper OR operator.rolbypassrls)
    UNION ALL
    SELECT true, format('the operator''s login %I is a member of cloacina_owner, to which every tenant''s rows are open', operator.rolname),
           format('REVOKE cloacina_owner FROM %I', operator.rolname)
    FROM pg_roles AS operator, kept WHERE operator.rolname = $4 AND NOT operator.rolsuper AND pg_has_role(operator.oid, owner, 'MEMBER')
    UNION ALL
    SELECT true, format('%I is a member of %I', pg_get_userbyid(member), pg_get_userbyid(roleid)),
           format('REVOKE %I FROM %I', pg_get_userbyid(roleid), pg_get_userbyid(member))
    FROM pg_auth_members JOIN ours ON ours.oid = member, kept
    WHERE NOT coalesce(member = kept.oid AND roleid = working OR member = working AND $2 = 'login' AND roleid = to_regrole('cloacina_tenant'), false)
    UNION ALL
    -- A tenant's group is named after its login, and its logins are no more than two.
    SELECT true, format('%I is a member of the tenant''s %I', pg_get_userbyid(member), pg_get_userbyid(roleid)),
           format('REVOKE %I FROM %I', pg_get_userbyid(roleid), pg_get_userbyid(member))
    FROM member JOIN ours ON ours.oid = roleid, kept
    WHERE roleid = kept.oid OR $2 = 'login' AND pg_get_userbyid(member) || '__g' <> pg_get_userbyid(roleid)
      AND pg_get_userbyid(member) <> regexp_replace(pg_get_userbyid(roleid), '__g$', '__2')
    UNION ALL
    SELECT true, format('%I is no member of a role that rights on the place are granted to', rolname), 'let an administrator make the login again'
    FROM kept WHERE working IS NULL OR NOT EXISTS (SELECT FROM pg_auth_members WHERE member = kept.oid AND roleid = working)
),
consequence (fatal, what, remedy) AS (
    SELECT true, format('%I owns %s', pg_get_userbyid(refobjid), CASE
               WHEN dbid IN (0, database.oid) THEN pg_describe_object(classid, objid, objsubid) ELSE 'something in another database' END),
           'give it to another role with ALTER … OWNER TO'
    FROM pg_shdepend JOIN ours ON ours.oid = refobjid, pg_database AS database
    WHERE datname = current_database() AND refclassid = 'pg_authid'::regclass AND deptype = 'o'
    UNION ALL
    SELECT true, format('%I has rights on %s', pg_get_userbyid(refobjid), pg_describe_object(classid, objid, objsubid)), 'take them back with REVOKE'
    FROM pg_shdepend JOIN ours ON ours.oid = refobjid, kept, pg_database AS database
    WHERE datname = current_database() AND dbid IN (0, database.oid) AND refclassid = 'pg_authid'::regclass AND deptype = 'a'
      AND classid NOT IN ('pg_database'::regclass, 'pg_default_acl'::regclass)
      AND NOT (classid = 'pg_largeobject'::regclass AND EXISTS (
          SELECT FROM pg_largeobject_metadata JOIN tenant ON tenant.oid = lomowner WHERE pg_largeobject_metadata.oid = objid AND lomowner NOT IN (SELECT oid FROM ours)
      ))
      AND NOT coalesce(refobjid = working AND CASE classid
        WHEN 'pg_namespace'::regclass THEN objid IN (schema_oid, 'cloacina'::regnamespace)
        WHEN 'pg_class'::regclass THEN (SELECT relnamespace FROM pg_class WHERE pg_class.oid = objid) = schema_oid
        WHEN 'pg_proc'::regclass THEN (SELECT pronamespace FROM pg_proc WHERE pg_proc.oid = objid) = 'cloacina'::regnamespace
        END, false)
    UNION ALL
    SELECT true, format('%I can make objects in the schema %I', rolname, nspname),
           format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname, CASE WHEN is_open_to_all THEN 'PUBLIC' ELSE quote_ident(rolname) END)
    FROM kept, usable WHERE is_open AND NOT rolsuper
    UNION ALL
    SELECT true, format('%I can make %s in the database %I', rolname, CASE privilege WHEN 'CREATE' THEN 'schemas' ELSE 'temporary tables' END, current_database()),
           format('REVOKE %s ON DATABASE %I FROM %s', privilege, current_database(),
                  CASE WHEN has_database_privilege('public', current_database(), privilege) THEN 'PUBLIC' ELSE quote_ident(rolname) END)
    FROM kept, unnest(ARRAY['CREATE', 'TEMPORARY']) AS privilege WHERE has_database_privilege(kept.oid, current_database(), privilege) AND NOT rolsuper
    UNION ALL
    SELECT true, format('%I can use the table cloacina.%I', rolname, relname), format('REVOKE ALL ON cloacina.%I FROM %I, PUBLIC', relname, rolname)
    FROM kept, pg_depend JOIN pg_class ON pg_class.oid = objid
    WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'cloacina'::regnamespace AND classid = 'pg_class'::regclass AND relkind = 'r' AND NOT rolsuper
      AND (has_table_privilege(kept.oid, pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
           OR has_any_column_privilege(kept.oid, pg_class.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))
    UNION ALL
    -- Functions that run with the rights of somebody else. Those of `cloacina` are what keeps tenants apart.
    SELECT true, format('%I can run %s with the rights of %I', rolname, runnable.oid::regprocedure, pg_get_userbyid(proowner)),
           format('REVOKE EXECUTE ON FUNCTION %s FROM %I, PUBLIC', runnable.oid::regprocedure, rolname)
    FROM kept, runnable
    WHERE prosecdef AND NOT rolsuper AND NOT (nspname = 'cloacina' AND proowner IS NOT DISTINCT FROM owner AND CASE $2
        WHEN 'shared' THEN proname IN ('enter', 'at_home') OR proname LIKE 'entered%'
        WHEN 'reader' THEN proname IN ('reading', 'at_home')
        ELSE proname IN ('me', 'ring', 'at_home') OR proname LIKE 'my\_%' END)
    UNION ALL
    SELECT true, format('%I can run %s, which is written in an untrusted language', rolname, runnable.oid::regprocedure),
           format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', runnable.oid::regprocedure)
    FROM kept, runnable JOIN pg_language ON pg_language.oid = prolang
    WHERE NOT lanpltrusted AND extension IS NULL AND NOT rolsuper
    UNION ALL
    -- What the server gives to nobody but superusers: files, programs of others, settings.
    SELECT true, format('%I can run %s, which the server keeps from ordinary logins', rolname, pg_proc.oid::regprocedure),
           format('REVOKE EXECUTE ON FUNCTION %s FROM %I, PUBLIC', pg_proc.oid::regprocedure, rolname)
    FROM kept, pg_init_privs JOIN pg_proc ON pg_proc.oid = objoid
    WHERE classoid = 'pg_proc'::regclass AND NOT EXISTS (SELECT FROM aclexplode(initprivs) WHERE grantee = 0)
      AND has_function_privilege(kept.oid, pg_proc.oid, 'EXECUTE') AND NOT rolsuper
    UNION ALL
    -- The server says itself which extensions anybody may install; the others reach further.
    SELECT true, format('%I can use the extension %I, which is none that the server trusts', rolname, extname),
           format('move it to a schema that %I cannot use, or declare the function that is needed with `function`', rolname)
    FROM kept, pg_extension
    WHERE EXISTS (SELECT FROM runnable WHERE runnable.extension = pg_extension.oid) AND NOT rolsuper
      AND NOT EXISTS (SELECT FROM runnable WHERE runnable.extension = pg_extension.oid AND proname = ANY ($5::text[]))
      AND NOT EXISTS (SELECT FROM pg_available_extension_versions() AS available WHERE available.name = extname AND available.version = extversion AND trusted)
    UNION ALL
    SELECT true, format('%I can use the foreign server %I', rolname, srvname), format('REVOKE USAGE ON FOREIGN SERVER %I FROM %I, PUBLIC', srvname, rolname)
    FROM kept, pg_foreign_server WHERE has_server_privilege(kept.oid, pg_foreign_server.oid, 'USAGE') AND NOT rolsuper
    UNION ALL
    SELECT true, format('%I can use the foreign-data wrapper %I', rolname, fdwname), format('REVOKE USAGE ON FOREIGN DATA WRAPPER %I FROM %I, PUBLIC', fdwname, rolname)
    FROM kept, pg_foreign_data_wrapper WHERE has_foreign_data_wrapper_privilege(kept.oid, pg_foreign_data_wrapper.oid, 'USAGE') AND NOT rolsuper
    UNION ALL
    SELECT true, format('%I can use the schema %I of another tenant', rolname, nspname), format('REVOKE ALL ON SCHEMA %I FROM %I, PUBLIC', nspname, rolname)
    FROM kept, usable
    WHERE is_usable AND usable.oid <> schema_oid AND NOT rolsuper
      AND EXISTS (SELECT FROM pg_class WHERE relname = 'workflow_executions' AND relnamespace = usable.oid)
)
SELECT fatal, what, remedy FROM (SELECT 1 AS turn, * FROM cause UNION ALL SELECT 2, * FROM consequence) AS finding ORDER BY fatal DESC, turn, what
