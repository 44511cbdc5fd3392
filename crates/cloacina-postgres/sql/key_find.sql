-- A key that is good, and whose key is if it is a session.
SELECT key.id, key.hash, key.parent, tenant.name AS tenant, key.role, key.payloads, key.name, key.created_at, key.created_by, key.expires_at,
       key.last_used_at
FROM cloacina.api_key AS key LEFT JOIN cloacina.tenant USING (tenant_id)
WHERE key.id = $1::text AND coalesce(key.expires_at > coalesce($2::timestamptz, now()), true)
  AND (key.tenant_id IS NULL OR tenant.state NOT IN ('removing', 'removed'))
  AND (key.parent IS NULL OR EXISTS (
      SELECT FROM cloacina.api_key AS parent
      WHERE parent.id = key.parent AND coalesce(parent.expires_at > coalesce($2, now()), true)))
