-- A key with its sessions.
DELETE FROM cloacina.api_key WHERE id = $1::text OR parent = $1 RETURNING tenant_id, id = $1 AND parent IS NULL AS is_key
