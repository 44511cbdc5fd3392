-- Takes tenants in whose places executions may be kept for longer than they are to be, unless another process
-- has taken them: those that are open (`$2`, each with its three retentions in microseconds), and some of all
-- others (`$6`). The last row says for how long what is known to be left has been kept beyond its time,
-- whoever deletes it.
WITH clock AS (SELECT coalesce($1::timestamptz, now()) AS now),
wanted AS (
    SELECT open.tenant_id, open.completed, open.failed, open.cancelled, false AS is_other
    FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS open (tenant_id, completed, failed, cancelled)
    JOIN cloacina.tenant ON tenant.tenant_id = open.tenant_id AND tenant.state = 'active'
    UNION ALL
    SELECT tenant_id, $7::bigint, $8::bigint, $9::bigint, true
    FROM cloacina.tenant
    WHERE $6::boolean AND state = 'active' AND placement IN ('schema', 'shared')
      AND NOT EXISTS (SELECT FROM unnest($2) AS open (id) WHERE open.id = tenant.tenant_id)
),
old AS MATERIALIZED (
    SELECT wanted.tenant_id, wanted.is_other, age.behind, age.known,
           coalesce(kept.not_before <= clock.now, true) AS is_free
    FROM clock CROSS JOIN wanted
    LEFT JOIN cloacina.retention AS kept ON kept.tenant_id = wanted.tenant_id
    CROSS JOIN LATERAL (
        SELECT max(clock.now - kept_for * interval '1 microsecond' - coalesce(since, 'epoch')) AS behind,
               max(clock.now - kept_for * interval '1 microsecond' - since)
                   FILTER (WHERE since > 'epoch') AS known
        FROM (VALUES (wanted.completed, kept.completed_from), (wanted.failed, kept.failed_from),
                     (wanted.cancelled, kept.cancelled_from)) AS age (kept_for, since)
    ) AS age
    WHERE age.behind > interval '0'
),
chosen AS (
    SELECT tenant_id FROM old WHERE is_free AND NOT is_other
    UNION ALL
    (SELECT tenant_id FROM old WHERE is_free AND is_other ORDER BY behind DESC LIMIT $10::bigint)
),
taken AS (
    INSERT INTO cloacina.retention AS kept (tenant_id, not_before)
    SELECT tenant_id, clock.now + interval '1 hour' FROM chosen CROSS JOIN clock ORDER BY tenant_id
    ON CONFLICT (tenant_id) DO UPDATE SET not_before = excluded.not_before
    WHERE kept.not_before <= (SELECT now FROM clock)
    RETURNING kept.tenant_id
)
SELECT tenant_id, NULL::bigint AS behind_us FROM taken
UNION ALL
SELECT NULL, (extract(epoch FROM max(known)) * 1000000)::bigint FROM old
