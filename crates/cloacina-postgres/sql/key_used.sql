-- At most once a minute. A time that lies ahead is none: the clock was set back. What somebody else notes at
-- this moment is left to them.
WITH used AS MATERIALIZED (
    SELECT id FROM cloacina.api_key
    WHERE id = ANY ($1::text[])
      AND (last_used_at IS NULL
           OR NOT (last_used_at > coalesce($2::timestamptz, now()) - interval '1 minute' AND last_used_at <= coalesce($2, now())))
    ORDER BY id FOR UPDATE SKIP LOCKED
)
UPDATE cloacina.api_key SET last_used_at = coalesce($2, now()) FROM used WHERE api_key.id = used.id
