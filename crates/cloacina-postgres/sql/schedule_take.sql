-- Takes due rows of schedules, the longest due first, with the locks on these: at most `$3` of each tenant.
-- Several tenants share tables.
--
-- It waits for no lock: what somebody else has is for the next try, and a thousand rows behind it are looked
-- at. What follows is a statement of its own, under these locks, so that it sees what their last holders
-- wrote. A row about no schedule, of one that was deleted or that a tenant planted, is taken away.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT wanted.tenant_id, first.*
    FROM unnest($1::uuid[]) AS wanted (tenant_id)
    CROSS JOIN LATERAL (
        SELECT ctid, subject
        FROM due_rows
        WHERE tenant_id = wanted.tenant_id AND kind = 2 AND due_at <= (SELECT now FROM clock)
        ORDER BY due_at, subject, cause
        LIMIT $3::bigint + 1000
    ) AS first
),
picked AS MATERIALIZED (
    SELECT wanted.tenant_id, due.*
    FROM unnest($1) AS wanted (tenant_id)
    CROSS JOIN LATERAL (
        SELECT due.ctid, due.subject, due.cause
        FROM front
        CROSS JOIN LATERAL (
            SELECT id FROM schedules
            WHERE tenant_id = front.tenant_id AND id = front.subject
            OFFSET 0
            FOR NO KEY UPDATE SKIP LOCKED
        ) AS schedule
        JOIN due_rows AS due ON due.ctid = front.ctid
        WHERE front.tenant_id = wanted.tenant_id
        LIMIT $3
        FOR UPDATE OF due SKIP LOCKED
    ) AS due
),
void AS MATERIALIZED (
    SELECT front.tenant_id, due.ctid, due.cause
    FROM front
    JOIN due_rows AS due ON due.ctid = front.ctid
    WHERE NOT EXISTS (
        SELECT FROM schedules AS schedule
        WHERE schedule.tenant_id = front.tenant_id AND schedule.id = front.subject
        OFFSET 0
    )
    FOR UPDATE OF due SKIP LOCKED
),
taken AS (
    DELETE FROM due_rows AS due
    USING (SELECT ctid FROM picked UNION ALL SELECT ctid FROM void) AS gone
    WHERE due.ctid = gone.ctid
)
SELECT tenant_id, subject, cause FROM picked
UNION ALL
SELECT tenant_id, NULL, cause FROM void
