-- The sessions that are not good any more.
DELETE FROM cloacina.api_key AS session
WHERE parent IS NOT NULL AND (
    expires_at <= coalesce($1::timestamptz, now())
    OR NOT EXISTS (
        SELECT FROM cloacina.api_key AS key
        WHERE key.id = session.parent AND coalesce(key.expires_at > coalesce($1, now()), true)))
RETURNING id
