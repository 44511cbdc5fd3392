-- A key with its sessions.
DELETE FROM cloacina.api_key WHERE id = $1::text OR parent = $1 RETURNING id
