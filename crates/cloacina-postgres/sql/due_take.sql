-- Takes rows of one kind that are due, the longest due first, with the locks on the executions that they are
-- about.
--
-- It waits for no lock: what somebody else has is for the next try, and a thousand rows behind it are looked
-- at. MATERIALIZED, because a limit in a subquery may be run again for each row of the outer query. What
-- follows is a statement of its own, under these locks, so that it sees what their last holders wrote.
--
-- A tenant may have written any row. One that is about no execution, or about one that is over, is taken
-- away: it would be in the way of the others for ever. `fits` says whether it may have its effect: the
-- execution's own row says when its deadline is.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT ctid, subject
    FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = $3::smallint AND due_at <= (SELECT now FROM clock)
    ORDER BY due_at, subject, cause
    LIMIT $4::bigint + 1000
),
picked AS MATERIALIZED (
    SELECT due.ctid, due.subject, execution.state, execution.deadline, execution.is_related
    FROM front
    CROSS JOIN LATERAL (
        SELECT state, deadline, schedule_id IS NOT NULL OR parent_id IS NOT NULL OR has_waits AS is_related FROM workflow_executions
        WHERE tenant_id = $1 AND id = front.subject
        OFFSET 0
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS execution
    JOIN due_rows AS due ON due.ctid = front.ctid
    LIMIT $4
    FOR UPDATE OF due SKIP LOCKED
),
void AS MATERIALIZED (
    SELECT due.ctid, due.subject
    FROM front
    JOIN due_rows AS due ON due.ctid = front.ctid
    WHERE NOT EXISTS (
        SELECT FROM workflow_executions AS execution WHERE execution.tenant_id = $1 AND execution.id = front.subject OFFSET 0
    )
    FOR UPDATE OF due SKIP LOCKED
),
taken AS (
    DELETE FROM due_rows AS due
    USING (SELECT ctid FROM picked UNION ALL SELECT ctid FROM void) AS gone
    WHERE due.ctid = gone.ctid
)
SELECT picked.subject,
       picked.state IN ('pending', 'running', 'waiting', 'paused') AND coalesce(picked.deadline <= clock.now, false) AS fits,
       picked.is_related AS related
FROM picked, clock
UNION ALL
SELECT subject, false, false FROM void
