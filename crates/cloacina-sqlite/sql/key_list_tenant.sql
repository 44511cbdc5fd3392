SELECT id, hash, parent, tenant, role, payloads, name, created_at, created_by, expires_at, last_used_at
FROM cloacina_key WHERE tenant = ?3 AND parent IS NULL AND id > ?1 ORDER BY id LIMIT ?2
