-- What is not clean in the tables of a place. Reads catalogs only, by their indexes, so that it costs the
-- same among ten thousand places as alone.
--
--   $1  the schema                      $5  whose its rows are
--   $2  `schema`, `login` or `shared`   $6  the tables that the migrations leave
--   $3  the tenant tables               $7  $8  the tables and columns of the models
--   $4  the reference tables            $9  $10 functions and types that were declared
--                                       $11 the login that works with the data
WITH place AS MATERIALIZED (
    SELECT schema.oid AS schema_oid, nspowner, nspacl,
           to_regrole('cloacina_owner')::oid AS owner, to_regrole('cloacina_engine')::oid AS engine, to_regrole('cloacina_reader')::oid AS reader,
           -- The role that the rights of the login are granted to.
           CASE $2::text
               WHEN 'shared' THEN to_regrole('cloacina_app')::oid
               WHEN 'login' THEN (
                   SELECT min(of_login.roleid) FROM pg_auth_members AS of_login JOIN pg_auth_members AS of_group ON of_group.member = of_login.roleid
                   WHERE of_login.member = to_regrole(quote_ident($11::text)) AND of_group.roleid = to_regrole('cloacina_tenant')
               )
           END AS working
    FROM pg_namespace AS schema WHERE nspname = $1::text
),
-- Every object of a schema depends on it, whatever it is; indexes and types of rows depend on their tables.
object AS MATERIALIZED (
    SELECT classid, objid FROM place JOIN pg_depend ON refclassid = 'pg_namespace'::regclass AND refobjid = schema_oid
    WHERE classid <> 'pg_default_acl'::regclass
),
class AS MATERIALIZED (
    SELECT class.oid, relname, relowner, relacl, relkind, relrowsecurity, relforcerowsecurity, reltype,
        CASE
            WHEN relkind IN ('r', 'p') AND NOT relispartition THEN CASE
                WHEN relname = ANY ($3::text[]) THEN 'tenant'
                WHEN relname = ANY ($4::text[]) THEN 'reference'
                WHEN relname IN ('workflow_executions', 'task_executions', 'ready_tasks', 'due_rows', 'task_waits', 'task_children', 'signals', 'execution_tags', 'task_pages', 'schedules', 'schedule_fires', 'task_attempts') THEN 'engine'
                WHEN relname = 'cloacina_data_migration' THEN 'migration' END
            WHEN relispartition AND (
                SELECT root.relname = ANY ($3 || $4) AND root.relnamespace = schema_oid FROM pg_class AS root WHERE root.oid = pg_partition_root(class.oid)
            ) THEN 'partition'
            WHEN relkind = 'S' AND EXISTS (
                SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND pg_depend.objid = class.oid AND refobjsubid > 0 AND deptype IN ('a', 'i')
            ) THEN 'sequence'
            -- Our own views: version 14 cannot let them read with the rights of whoever asks.
            WHEN relkind = 'v' AND relname IN ('v_executions', 'v_tasks') THEN 'record'
            WHEN relkind = 'v' AND coalesce((SELECT option_value::boolean FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false) THEN 'view'
        END AS kind
    FROM place, object JOIN pg_class AS class ON classid = 'pg_class'::regclass AND class.oid = objid
),
tenant_column AS MATERIALIZED (
    SELECT class.oid, relname, kind, attnum, attnotnull, atttypid, attidentity = '' AND attgenerated = '' AS is_plain,
           pg_get_expr(adbin, adrelid) AS standard
    FROM class LEFT JOIN pg_attribute ON attrelid = class.oid AND attname = 'tenant_id' AND NOT attisdropped
         LEFT JOIN pg_attrdef ON adrelid = class.oid AND adnum = attnum
    WHERE kind IN ('tenant', 'engine')
),
-- A right that somebody has, other than as the owner.
granted AS MATERIALIZED (
    SELECT class.oid, kind, format('table %I', relname) AS object, relname, NULL::name AS attname, acl.*
    FROM class, aclexplode(relacl) AS acl WHERE acl.grantee <> relowner
    UNION ALL
    SELECT class.oid, kind, format('column %I of table %I', attname, relname), relname, attname, acl.*
    FROM class JOIN pg_attribute ON attrelid = class.oid, aclexplode(attacl) AS acl WHERE attnum > 0 AND acl.grantee <> relowner
    UNION ALL
    SELECT NULL, 'schema', format('schema %I', $1), NULL, NULL, acl.* FROM place, aclexplode(nspacl) AS acl WHERE acl.grantee <> nspowner
),
-- What a policy has to be, for each table.
policy AS MATERIALIZED (
    SELECT class.oid, relname, polname, roles, cmd, condition, checked FROM place, class, LATERAL (VALUES
        ('operator', CASE kind WHEN 'engine' THEN ARRAY[engine, owner] ELSE ARRAY[owner] END, '*', 'true', 'true'),
        ('tenant', ARRAY[working], '*', '(tenant_id = ( SELECT cloacina.entered() AS entered))', '(tenant_id = ( SELECT cloacina.entered() AS entered))'),
        ('reader', ARRAY[reader], 'r', '(tenant_id = ( SELECT cloacina.reading() AS reading))', NULL)
    ) AS expected (polname, roles, cmd, condition, checked)
    WHERE $2 = 'shared' AND kind IN ('tenant', 'engine') AND NOT (kind = 'engine' AND polname = 'reader')
),
is_policy AS MATERIALIZED (
    SELECT class.oid, relname, polname::text AS polname, polpermissive, polcmd::text AS cmd, ARRAY(SELECT unnest(polroles) ORDER BY 1) AS roles,
           pg_get_expr(polqual, polrelid) AS condition, pg_get_expr(polwithcheck, polrelid) AS checked
    FROM class JOIN pg_policy ON polrelid = class.oid
),
-- Views elsewhere that read the tables, by however many others.
reading AS (
    WITH RECURSIVE reading (oid) AS (
        SELECT oid FROM class WHERE kind IN ('tenant', 'engine', 'partition')
        UNION
        SELECT ev_class FROM reading
        JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = reading.oid AND classid = 'pg_rewrite'::regclass
        JOIN pg_rewrite ON pg_rewrite.oid = objid
        WHERE ev_class <> reading.oid
    )
    SELECT view.oid, view.relkind, view.relname, view.relnamespace FROM reading JOIN pg_class AS view USING (oid)
    WHERE view.relkind = 'm' OR view.relkind = 'v' AND NOT coalesce((SELECT option_value::boolean FROM pg_options_to_table(reloptions) WHERE option_name = 'security_invoker'), false)
),
finding (fatal, what, remedy) AS (
    -- What is there.
    SELECT true, CASE relkind
               WHEN 'v' THEN format('the view %I reads with the rights of its owner', relname)
               WHEN 'm' THEN format('the materialized view %I holds rows that no rule keeps apart', relname)
               WHEN 'S' THEN format('the sequence %I belongs to no table', relname)
               ELSE format('the %s %I is not declared', CASE relkind WHEN 'f' THEN 'foreign table' WHEN 'c' THEN 'type' ELSE 'table' END, relname) END,
           CASE relkind
               WHEN 'v' THEN format('ALTER VIEW %I.%I SET (security_invoker = true)', $1, relname)
               WHEN 'r' THEN 'declare it with `tenant` or `reference`, or move it to another schema'
               ELSE 'remove it, or move it to another schema' END
    FROM class WHERE kind IS NULL
    UNION ALL
    SELECT true, format('%s is in the schema, where it can run in the place of another one', pg_describe_object(classid, objid, 0)),
           'remove it, or declare it with `function` or `value_type`'
    FROM object, place
    WHERE classid NOT IN ('pg_class'::regclass, 'pg_statistic_ext'::regclass)
      -- Who makes an extension may make schemas in the database: no tenant. What a login can do with it is
      -- asked elsewhere.
      AND classid <> 'pg_extension'::regclass
      AND NOT EXISTS (
        SELECT FROM pg_depend AS member WHERE member.classid = object.classid AND member.objid = object.objid AND member.deptype = 'e'
      )
      AND NOT EXISTS (SELECT FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid AND proname = ANY ($9::text[]) AND NOT prosecdef
                      AND proowner = nspowner)
      AND NOT EXISTS (SELECT FROM pg_type WHERE classid = 'pg_type'::regclass AND oid = objid AND typname = ANY ($10::text[]) AND typowner = nspowner)
    UNION ALL
    SELECT true, format('there is a trigger %I on table %I', tgname, relname), format('DROP TRIGGER %I ON %I.%I', tgname, $1, relname)
    FROM class JOIN pg_trigger ON tgrelid = class.oid WHERE NOT tgisinternal
    UNION ALL
    SELECT true, format('there is a rule %I on table %I', rulename, relname), format('DROP RULE %I ON %I.%I', rulename, $1, relname)
    FROM class JOIN pg_rewrite ON ev_class = class.oid WHERE relkind NOT IN ('v', 'm')
    UNION ALL
    SELECT true, format('there is %s', pg_describe_object('pg_cast'::regclass, pg_cast.oid, 0)), 'DROP CAST'
    FROM pg_cast JOIN class ON reltype IN (castsource, casttarget) WHERE reltype <> 0
    UNION ALL
    SELECT true, format('%s inherits from table %I', inhrelid::regclass, relname), 'detach it, or let it be a partition in the same schema'
    FROM class JOIN pg_inherits ON inhparent = class.oid
    WHERE relkind IN ('r', 'p') AND NOT EXISTS (SELECT FROM class AS child WHERE child.oid = inhrelid AND child.kind = 'partition')
    UNION ALL
    SELECT true, format('the %s %s reads table rows with the rights of its owner', CASE relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, oid::regclass),
           CASE relkind WHEN 'm' THEN format('DROP MATERIALIZED VIEW %s', oid::regclass)
               ELSE format('ALTER VIEW %s SET (security_invoker = true)', oid::regclass) END
    FROM reading, place WHERE relnamespace <> schema_oid
    UNION ALL
    -- What is not there.
    SELECT true, format('table %I is missing', name), 'restore it'
    FROM unnest($6::text[]) AS name WHERE NOT EXISTS (SELECT FROM class WHERE relname = name)
    UNION ALL
    SELECT true, format('table %I has no column %I', relname, col), 'add it with a migration, or leave it out of the model'
    FROM unnest($7::text[], $8::text[]) AS model (tab, col) JOIN class ON relname = tab
    WHERE kind IN ('tenant', 'reference')
      AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = class.oid AND attname = col AND NOT attisdropped)
    -- The column that says whose a row is.
    UNION ALL
    SELECT true, format('table %I has no column tenant_id of type uuid that is not null', relname),
           format('ALTER TABLE %I.%I ALTER COLUMN tenant_id SET NOT NULL', $1, relname)
    FROM tenant_column WHERE attnum IS NULL OR NOT attnotnull OR atttypid <> 'uuid'::regtype
    UNION ALL
    SELECT true, format('the column tenant_id of table %I does not get the tenant by default', relname),
           format('ALTER TABLE %I.%I ALTER COLUMN tenant_id SET DEFAULT %s', $1, relname,
                  CASE $2 WHEN 'shared' THEN 'nullif(current_setting(''cloacina.tenant'', true), '''')::uuid' ELSE quote_literal($5::text) END)
    FROM tenant_column
    WHERE kind = 'tenant' AND (NOT is_plain OR standard IS DISTINCT FROM CASE $2
        WHEN 'shared' THEN '(NULLIF(current_setting(''cloacina.tenant''::text, true), ''''::text))::uuid' ELSE quote_literal($5) || '::uuid' END)
    -- Keys.
    UNION ALL
    SELECT true, format('the unique index %I of table %I is not led by tenant_id, so that one tenant can tell what another has', index.relname, tenant_column.relname),
           'make it again with tenant_id as its first column'
    FROM tenant_column JOIN pg_index ON indrelid = tenant_column.oid JOIN pg_class AS index ON index.oid = indexrelid
    WHERE (indisunique OR indisexclusion) AND indkey[0] <> attnum
    UNION ALL
    SELECT true, format('the foreign key %I of table %I refers to %s without the tenant', conname, class.relname, confrelid::regclass),
           'make it again as a pair of columns that begins with tenant_id on both sides'
    FROM class JOIN pg_constraint ON conrelid = class.oid
    LEFT JOIN class AS target ON target.oid = confrelid
    LEFT JOIN tenant_column AS source_column ON source_column.oid = class.oid LEFT JOIN tenant_column AS target_column ON target_column.oid = confrelid
    WHERE contype = 'f' AND conparentid = 0 AND target.kind IS DISTINCT FROM 'reference'
      AND NOT EXISTS (
        SELECT FROM unnest(conkey, confkey) AS pair (here, there) WHERE here = source_column.attnum AND there = target_column.attnum
      )
    UNION ALL
    SELECT true, format('the foreign key %I of %s, a table that is not of this place, refers to table %I', conname, conrelid::regclass, relname),
           format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
    FROM class JOIN pg_depend ON refclassid = 'pg_class'::regclass AND refobjid = class.oid AND classid = 'pg_constraint'::regclass
    JOIN pg_constraint ON pg_constraint.oid = objid
    WHERE contype = 'f' AND confrelid = class.oid AND conrelid NOT IN (SELECT oid FROM class)
    -- Row security.
    UNION ALL
    SELECT true, format('row security of table %I is not %s', relname, CASE WHEN relrowsecurity THEN 'forced' ELSE 'enabled' END),
           format('ALTER TABLE %I.%I %s ROW LEVEL SECURITY', $1, relname, CASE WHEN relrowsecurity THEN 'FORCE' ELSE 'ENABLE' END)
    FROM class WHERE $2 = 'shared' AND kind IN ('tenant', 'engine') AND NOT (relrowsecurity AND relforcerowsecurity)
    UNION ALL
    SELECT true, format('the policy %I of table %I is missing or another one', policy.polname, policy.relname),
           format('DROP POLICY IF EXISTS %1$I ON %2$I.%3$I; CREATE POLICY %1$I ON %2$I.%3$I FOR %4$s TO %5$s USING (%6$s)%7$s', policy.polname, $1, policy.relname, CASE cmd WHEN 'r' THEN 'SELECT' ELSE 'ALL' END,
                  (SELECT string_agg(quote_ident(pg_get_userbyid(role)), ', ') FROM unnest(roles) AS role), condition, ' WITH CHECK (' || checked || ')')
    FROM policy
    WHERE NOT EXISTS (
        SELECT FROM is_policy WHERE is_policy.oid = policy.oid AND is_policy.polname = policy.polname AND polpermissive AND is_policy.cmd = policy.cmd
        AND is_policy.roles = ARRAY(SELECT unnest(policy.roles) ORDER BY 1) AND is_policy.condition IS NOT DISTINCT FROM policy.condition
        AND is_policy.checked IS NOT DISTINCT FROM policy.checked
    )
    UNION ALL
    SELECT true, format('there is a policy %I on table %I', polname, relname), format('DROP POLICY %I ON %I.%I', polname, $1, relname)
    FROM is_policy WHERE NOT EXISTS (SELECT FROM policy WHERE policy.oid = is_policy.oid AND policy.polname = is_policy.polname)
    -- Who may do what.
    UNION ALL
    SELECT true, format('table %I belongs to %I', relname, pg_get_userbyid(relowner)), format('ALTER TABLE %I.%I OWNER TO cloacina_owner', $1, relname)
    FROM class, place WHERE $2 <> 'schema' AND relowner IS DISTINCT FROM owner
    UNION ALL
    SELECT true, format('the schema %I belongs to %I', $1, pg_get_userbyid(nspowner)), format('ALTER SCHEMA %I OWNER TO cloacina_owner', $1)
    FROM place WHERE $2 <> 'schema' AND nspowner IS DISTINCT FROM owner
    UNION ALL
    -- In a schema of its own it may be whoever makes the place; not somebody who is nothing to the login.
    SELECT true, format('table %I belongs to %I, which the login %I is no member of', relname, pg_get_userbyid(relowner), $11),
           format('ALTER TABLE %I.%I OWNER TO %I', $1, relname, $11)
    FROM class, place
    WHERE $2 = 'schema' AND relowner IS DISTINCT FROM owner AND relowner <> nspowner
      AND NOT pg_has_role(to_regrole(quote_ident($11)), relowner, 'MEMBER')
    UNION ALL
    SELECT true, format('%s on %s is granted to %s%s', privilege_type, object,
                        CASE grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(grantee)) END,
                        CASE WHEN is_grantable THEN ' with grant option' ELSE '' END),
           format('REVOKE %s%s ON %s FROM %s', privilege_type, coalesce(' (' || quote_ident(attname) || ')', ''),
                  CASE kind WHEN 'schema' THEN 'SCHEMA ' || quote_ident($1) ELSE format('%I.%I', $1, relname) END,
                  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
           -- What is taken back for a table is taken back for its columns as well.
           || CASE WHEN kind = 'tenant' AND grantee = working AND attname IS NULL AND privilege_type IN ('INSERT', 'UPDATE') THEN (
                  SELECT format('; GRANT %s (%s) ON %I.%I TO %I', privilege_type, string_agg(quote_ident(pg_attribute.attname), ', ' ORDER BY attnum), $1, relname,
                                pg_get_userbyid(grantee))
                  FROM pg_attribute WHERE attrelid = granted.oid AND attnum > 0 AND NOT attisdropped AND pg_attribute.attname <> 'tenant_id'
              ) ELSE '' END
    FROM granted, place
    WHERE is_grantable AND $2 <> 'schema' OR NOT coalesce(CASE
        -- What the operator does with its own schemas is for it to say, but for what lets others put code or
        -- rows there.
        WHEN $2 = 'schema' THEN grantee <> 0 AND (
            privilege_type IN ('SELECT', 'USAGE') OR kind = 'engine' AND grantee = engine AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
            OR pg_has_role(to_regrole(quote_ident($11)), grantee, 'MEMBER'))
        WHEN grantee = working THEN CASE kind
            WHEN 'schema' THEN privilege_type = 'USAGE'
            WHEN 'tenant' THEN privilege_type IN ('SELECT', 'DELETE') OR attname <> 'tenant_id' AND privilege_type IN ('INSERT', 'UPDATE')
            WHEN 'engine' THEN privilege_type = 'SELECT' OR CASE
                WHEN $2 = 'login' THEN privilege_type IN ('INSERT', 'UPDATE', 'DELETE')
                WHEN attname IS NOT NULL THEN attname <> 'tenant_id' AND privilege_type = 'UPDATE'
                    OR relname IN ('workflow_executions', 'task_executions') AND privilege_type = 'INSERT'
                ELSE relname IN ('ready_tasks', 'due_rows') AND privilege_type IN ('INSERT', 'DELETE') OR relname IN ('task_attempts', 'execution_tags', 'task_children', 'signals') AND privilege_type = 'INSERT' END
            WHEN 'sequence' THEN privilege_type = 'USAGE'
            WHEN 'partition' THEN false
            WHEN 'record' THEN $2 = 'login' AND privilege_type = 'SELECT'
            ELSE privilege_type = 'SELECT' END
        WHEN grantee = reader AND $2 = 'shared' THEN CASE kind
            WHEN 'schema' THEN privilege_type = 'USAGE'
            WHEN 'tenant' THEN privilege_type = 'SELECT'
            WHEN 'reference' THEN privilege_type = 'SELECT' END
        WHEN grantee = engine THEN CASE kind
            WHEN 'schema' THEN privilege_type = 'USAGE'
            WHEN 'engine' THEN privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
            WHEN 'record' THEN privilege_type = 'SELECT' END
        END, false)
    UNION ALL
    SELECT true, format('default privileges of %I give %s on new objects to %s', pg_get_userbyid(defaclrole), acl.privilege_type,
                        CASE acl.grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(acl.grantee)) END),
           'take them back with ALTER DEFAULT PRIVILEGES'
    FROM pg_default_acl, aclexplode(defaclacl) AS acl, place
    WHERE acl.grantee <> defaclrole AND $2 <> 'schema' AND (defaclrole = owner OR defaclnamespace = schema_oid OR acl.grantee IN (working, reader))
      -- Those of a tenant with a login are about what it makes itself, which is nothing, and are told where
      -- its own login is looked at.
      AND NOT EXISTS (
          SELECT FROM pg_auth_members AS of_login JOIN pg_auth_members AS of_group ON of_group.member = of_login.roleid
          WHERE of_login.member = defaclrole AND of_group.roleid = to_regrole('cloacina_tenant') AND defaclrole IS DISTINCT FROM to_regrole(quote_ident($11))
      )
    -- What is only slow.
    UNION ALL
    SELECT false, format('the index %I of table %I is not used under row security: an operator of it could leak what it compares', index.relname, tenant_column.relname),
           'index a column of another type, or give the tenants that need it a place of their own'
    FROM tenant_column JOIN pg_index ON indrelid = tenant_column.oid JOIN pg_class AS index ON index.oid = indexrelid
    WHERE $2 = 'shared' AND (
        -- What the engine indexes calls no function.
        (indexprs IS NOT NULL AND tenant_column.kind <> 'engine')
        OR EXISTS (
            SELECT FROM unnest(indclass::oid[]) AS used JOIN pg_opclass ON pg_opclass.oid = used JOIN pg_amop ON amopfamily = opcfamily
                 AND amoplefttype = opcintype AND amoprighttype = opcintype
            JOIN pg_operator ON pg_operator.oid = amopopr JOIN pg_proc ON pg_proc.oid = oprcode
            WHERE NOT proleakproof
        )
    )
)
SELECT fatal, what, remedy FROM finding ORDER BY fatal DESC, what
