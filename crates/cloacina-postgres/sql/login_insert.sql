-- Notes that a login is a tenant's, by the OID of the role.
INSERT INTO cloacina.login (role_oid, tenant_id, role_name)
SELECT oid, $1::uuid, rolname::text FROM pg_roles WHERE rolname = $2::text
