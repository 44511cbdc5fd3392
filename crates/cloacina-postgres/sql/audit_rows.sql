-- Rows about a tenant by its id, about those of a name, or all; the newest first.
SELECT audit.id, at, actor, role, action, coalesce(audit.tenant_id::text, '') AS chain, tenant.name AS tenant, audit.schema_name, object, reason, detail, login,
       position, seal
FROM cloacina.audit LEFT JOIN cloacina.tenant USING (tenant_id)
WHERE ($1::uuid IS NULL OR audit.tenant_id = $1)
  AND ($2::text IS NULL OR audit.tenant_id IN (SELECT tenant_id FROM cloacina.tenant WHERE name = $2))
  AND audit.id < $3::bigint
ORDER BY audit.id DESC LIMIT $4::bigint
