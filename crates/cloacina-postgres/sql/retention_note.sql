-- Notes what is left in a place. What is committed only now may have ended up to an hour ago.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now)
UPDATE cloacina.retention SET
    not_before = clock.now + $6::bigint * interval '1 microsecond',
    completed_from = least($3::timestamptz, clock.now - interval '1 hour'),
    failed_from = least($4::timestamptz, clock.now - interval '1 hour'),
    cancelled_from = least($5::timestamptz, clock.now - interval '1 hour')
FROM clock
WHERE tenant_id = $1::uuid
