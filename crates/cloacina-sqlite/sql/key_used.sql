-- At most once a minute. A time that lies ahead is none: the clock was set back.
UPDATE cloacina_key SET last_used_at = ?2
WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at NOT BETWEEN ?2 - 60000000 + 1 AND ?2)
