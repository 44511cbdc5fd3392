-- Takes due rows of schedules, the longest due first, with the locks on these.
--
-- It waits for no lock: what somebody else has is for the next try, and a thousand rows behind it are looked
-- at. What follows is a statement of its own, under these locks, so that it sees what their last holders
-- wrote. A row about no schedule, of one that was deleted or that a tenant planted, is taken away.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT ctid, subject
    FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = 2 AND due_at <= (SELECT now FROM clock)
    ORDER BY due_at, subject, cause
    LIMIT $3::bigint + 1000
),
picked AS MATERIALIZED (
    SELECT due.ctid, due.subject, due.cause
    FROM front
    CROSS JOIN LATERAL (
        SELECT id FROM schedules
        WHERE tenant_id = $1 AND id = front.subject
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS schedule
    JOIN due_rows AS due ON due.ctid = front.ctid
    LIMIT $3
    FOR UPDATE OF due SKIP LOCKED
),
void AS MATERIALIZED (
    SELECT due.ctid, due.subject, due.cause
    FROM front
    JOIN due_rows AS due ON due.ctid = front.ctid
    WHERE NOT EXISTS (
        SELECT FROM schedules AS schedule WHERE schedule.tenant_id = $1 AND schedule.id = front.subject OFFSET 0
    )
    FOR UPDATE OF due SKIP LOCKED
),
taken AS (
    DELETE FROM due_rows AS due
    USING (SELECT ctid FROM picked UNION ALL SELECT ctid FROM void) AS gone
    WHERE due.ctid = gone.ctid
)
SELECT subject, cause FROM picked
UNION ALL
SELECT NULL, cause FROM void
