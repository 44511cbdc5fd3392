-- Notes what is left in the places of tenants. What is committed only now may have ended up to an hour ago.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now)
UPDATE cloacina.retention SET
    not_before = clock.now + noted.pause * interval '1 microsecond',
    completed_from = least(noted.completed, clock.now - interval '1 hour'),
    failed_from = least(noted.failed, clock.now - interval '1 hour'),
    cancelled_from = least(noted.cancelled, clock.now - interval '1 hour')
FROM clock
CROSS JOIN unnest($1::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
    AS noted (tenant_id, completed, failed, cancelled, pause)
WHERE retention.tenant_id = noted.tenant_id
