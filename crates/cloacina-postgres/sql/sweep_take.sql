-- The first due row of sweeps (kind 4), with the lock on it, and the first open children that it is about,
-- with the locks on them. What somebody else has is for the next try.
--
-- A tenant may have written any row: it cancels no child of an execution or node that is not over.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
first AS MATERIALIZED (
    SELECT ctid, subject, cause, CASE WHEN cause ~ '^[0-9]{1,4}$' THEN cause::smallint END AS node
    FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = 4 AND due_at <= (SELECT now FROM clock)
    ORDER BY due_at, subject, cause
    LIMIT 1
    FOR UPDATE SKIP LOCKED
),
swept AS MATERIALIZED (
    SELECT child.id
    FROM first
    CROSS JOIN LATERAL (
        SELECT id FROM workflow_executions AS open
        WHERE open.tenant_id = $1 AND open.parent_id = first.subject AND open.finished_at IS NULL
          AND (first.node IS NULL OR open.parent_node = first.node)
          AND EXISTS (
            SELECT FROM task_children AS counted
            WHERE counted.tenant_id = $1 AND counted.execution_id = first.subject AND counted.task = open.parent_node AND NOT counted.abandons
            OFFSET 0
          )
          AND (
            EXISTS (
              SELECT FROM workflow_executions AS parent
              WHERE parent.tenant_id = $1 AND parent.id = first.subject AND parent.finished_at IS NOT NULL
              OFFSET 0
            ) OR EXISTS (
              SELECT FROM task_executions AS node
              WHERE node.tenant_id = $1 AND node.execution_id = first.subject AND node.task = open.parent_node AND node.finished_at IS NOT NULL
              OFFSET 0
            )
          )
        LIMIT $3::bigint
        FOR NO KEY UPDATE SKIP LOCKED
    ) AS child
)
SELECT first.subject, first.cause, first.node, swept.id
FROM first LEFT JOIN swept ON true
