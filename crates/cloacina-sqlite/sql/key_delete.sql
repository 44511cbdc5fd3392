-- A key with its sessions.
DELETE FROM cloacina_key WHERE id = ?1 OR parent = ?1
