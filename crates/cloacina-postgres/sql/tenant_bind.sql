-- Binds a tenant to its group by the OID of the role.
UPDATE cloacina.tenant SET group_oid = role.oid, group_name = role.rolname::text
FROM pg_roles AS role WHERE tenant_id = $1::uuid AND role.rolname = $2::text
