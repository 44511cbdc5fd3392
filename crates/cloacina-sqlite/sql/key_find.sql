-- A key that is good, and whose key is if it is a session.
SELECT key.id, key.hash, key.parent, key.tenant, key.role, key.payloads, key.name, key.created_at, key.created_by, key.expires_at, key.last_used_at
FROM cloacina_key AS key
WHERE key.id = ?1 AND (key.expires_at IS NULL OR key.expires_at > ?2)
  AND (key.parent IS NULL OR EXISTS (
      SELECT 1 FROM cloacina_key AS parent WHERE parent.id = key.parent AND (parent.expires_at IS NULL OR parent.expires_at > ?2)))
