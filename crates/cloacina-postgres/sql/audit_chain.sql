-- Sealed rows by chain and position, behind the one that is named.
SELECT audit.id, at, actor, role, action, coalesce(audit.tenant_id::text, '') AS chain, NULL::text AS tenant, schema_name, object, reason, detail, login,
       position, seal
FROM cloacina.audit
WHERE position IS NOT NULL
  AND ($1::uuid IS NULL OR audit.tenant_id = $1)
  AND ($2::text IS NULL OR audit.tenant_id IN (SELECT tenant_id FROM cloacina.tenant WHERE name = $2))
  AND (coalesce(audit.tenant_id, '00000000-0000-0000-0000-000000000000'), position) > ($3::uuid, $4::bigint)
ORDER BY coalesce(audit.tenant_id, '00000000-0000-0000-0000-000000000000'), position LIMIT $5::bigint
