-- Whose key it is, if it is no session.
SELECT tenant FROM cloacina_key WHERE id = ?1 AND parent IS NULL
