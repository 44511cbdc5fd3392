-- What in the whole cluster still refers to roles: objects they own or are granted, memberships, settings,
-- prepared transactions.
SELECT format('%s %s in %s', count(*), CASE deptype WHEN 'o' THEN 'owned objects' ELSE 'privileges' END,
              coalesce('database ' || quote_ident(datname), 'all databases')) AS what
FROM pg_shdepend LEFT JOIN pg_database ON pg_database.oid = dbid
WHERE refclassid = 'pg_authid'::regclass AND refobjid = ANY ($1::oid[])
GROUP BY deptype, datname
UNION ALL
SELECT 'large object ' || oid FROM pg_largeobject_metadata WHERE lomowner = ANY ($1)
UNION ALL
SELECT format('a prepared transaction in database %I (ROLLBACK PREPARED %L;)', database, gid) FROM pg_prepared_xacts WHERE owner = ANY ($2::text[])
UNION ALL
SELECT 'membership in ' || pg_get_userbyid(roleid) FROM pg_auth_members
WHERE member = ANY ($1) AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = member)
UNION ALL
SELECT 'settings of the role ' || setrole FROM pg_db_role_setting WHERE setrole = ANY ($1)
UNION ALL
SELECT 'role ' || quote_ident(rolname) FROM pg_roles WHERE oid = ANY ($1)
