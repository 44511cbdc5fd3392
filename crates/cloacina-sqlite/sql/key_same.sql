-- When a key was made, if it is this one.
SELECT created_at FROM cloacina_key WHERE id = ?1 AND hash = ?2
