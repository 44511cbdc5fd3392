-- Changes no key, so it passes the lock that flushes hold on the row.
UPDATE cloacina.runner SET
    beat = beat + 1, workflows = $2::text[], fingerprints = $3::bigint[], heartbeat_at = coalesce($4::timestamptz, now())
WHERE id = $1::uuid AND state = 'live'
RETURNING beat
