-- In a transaction that is not the store's: new executions become children of tasks, whose executions are
-- locked. How many children a task has started is counted where a node counts those that it waits for: -1 at
-- a time, because nobody waits for them. One whose parent has ended in the meantime is swept (kind 4).
WITH linked AS (
    UPDATE workflow_executions AS child SET parent_id = new.parent_id, parent_node = new.task, item = new.number
    FROM unnest($3::uuid[], $4::uuid[], $5::smallint[], $6::bigint[]) AS new (id, parent_id, task, number)
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS recorded WHERE recorded.tenant_id = $1::uuid AND recorded.id = new.id
        OFFSET 0
    ) AS recorded
    WHERE child.ctid = recorded.ctid
    RETURNING child.parent_id, child.parent_node
),
noted AS (
    UPDATE workflow_executions AS parent SET has_waits = true
    FROM (SELECT DISTINCT unnest($4) AS id) AS wanted
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS locked WHERE locked.tenant_id = $1 AND locked.id = wanted.id
        OFFSET 0
    ) AS locked
    WHERE parent.ctid = locked.ctid
    RETURNING parent.id, parent.finished_at
),
swept AS (
    INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
    SELECT $1, 4, coalesce($2::timestamptz, now()), id, '' FROM noted WHERE finished_at IS NOT NULL
    ON CONFLICT DO NOTHING
)
INSERT INTO task_children AS counted (tenant_id, execution_id, task, total, parallel, tolerated, started, abandons)
SELECT $1, parent_id, parent_node, count(*), -1, 0, count(*), false
FROM linked
GROUP BY parent_id, parent_node
ON CONFLICT (tenant_id, execution_id, task) DO UPDATE SET
    total = counted.total + excluded.total, started = counted.started + excluded.started
RETURNING counted.execution_id, counted.started
