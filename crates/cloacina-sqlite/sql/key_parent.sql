-- Whether there is a good key of which a tenant can have a session.
SELECT EXISTS (
    SELECT 1 FROM cloacina_key
    WHERE id = ?1 AND parent IS NULL AND (expires_at IS NULL OR expires_at > ?2) AND (tenant IS NULL OR tenant = ?3)
)
