-- Drops notices that every process has had the time to read. It waits for nobody who does the same.
DELETE FROM cloacina.notice
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM cloacina.notice WHERE created_at < coalesce($1::timestamptz, now()) - interval '1 minute'
    LIMIT 10000
    FOR UPDATE SKIP LOCKED
))
