INSERT INTO cloacina_key (id, hash, parent, tenant, role, payloads, name, created_at, created_by, expires_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT DO NOTHING
