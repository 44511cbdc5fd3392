-- Keys without sessions: of a tenant, or all of them.
SELECT key.id, key.hash, key.parent, tenant.name AS tenant, key.role, key.payloads, key.name, key.created_at, key.created_by, key.expires_at,
       key.last_used_at
FROM cloacina.api_key AS key LEFT JOIN cloacina.tenant USING (tenant_id)
WHERE key.parent IS NULL AND key.id COLLATE "C" > $2::text
  AND ($1::text IS NULL OR key.tenant_id = (
      SELECT tenant_id FROM cloacina.tenant WHERE name = $1 AND state NOT IN ('removing', 'removed') AND placement <> 'host'))
ORDER BY key.id COLLATE "C" LIMIT $3::bigint
