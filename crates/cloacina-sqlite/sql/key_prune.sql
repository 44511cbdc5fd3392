-- The sessions that are not good any more.
DELETE FROM cloacina_key
WHERE parent IS NOT NULL AND (
    expires_at <= ?1
    OR NOT EXISTS (SELECT 1 FROM cloacina_key AS key WHERE key.id = cloacina_key.parent AND (key.expires_at IS NULL OR key.expires_at > ?1)))
