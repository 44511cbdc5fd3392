-- Who owns the place's schema, and whether that is another role under which we may work.
SELECT schema_version, min_reader, group_name, pg_get_userbyid(space.nspowner) AS owner,
       space.nspowner <> (SELECT oid FROM pg_roles WHERE rolname = current_user) AND pg_has_role(space.nspowner, 'MEMBER') AS other_owner
FROM cloacina.tenant AS tenant
LEFT JOIN pg_namespace AS space ON space.nspname = tenant.schema_name
WHERE tenant_id = $1::uuid
FOR UPDATE OF tenant
