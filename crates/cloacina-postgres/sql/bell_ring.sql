-- The last step of whatever leaves ready or due rows: sets the bell to the earliest of them if it is set
-- later. Of the due rows the caller says the earliest that it inserted (`$3`), or null: those that were there
-- before have rung.
--
-- The bell's row is locked FOR KEY SHARE first: ringers do not queue behind each other, and who lowers the
-- bell (FOR UPDATE) either sees these rows or waits until they can be seen. The decision is made on the row
-- as it was locked (`bell`), not as the statement's snapshot has it: a bell that was lowered in between looks
-- early there.
WITH bell AS MATERIALIZED (
    SELECT tenant_id, due_at FROM cloacina.doorbell WHERE tenant_id = $1::uuid FOR KEY SHARE
),
earliest AS MATERIALIZED (
    SELECT least(min(first.due_at), $3::timestamptz) AS due_at
    FROM generate_series(0, 9) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT ready.due_at FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1 AND ready.priority = level.priority
        ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
    ) AS first
),
rung AS (
    UPDATE cloacina.doorbell AS doorbell SET due_at = least(doorbell.due_at, earliest.due_at)
    FROM bell, earliest
    WHERE doorbell.tenant_id = $1 AND doorbell.tenant_id = bell.tenant_id
      AND earliest.due_at IS NOT NULL AND (bell.due_at IS NULL OR bell.due_at > earliest.due_at)
)
SELECT coalesce(earliest.due_at <= coalesce($2::timestamptz, now()), false) AS due, EXISTS (SELECT FROM bell) AS known
FROM earliest
