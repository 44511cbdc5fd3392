-- Nodes whose executions are locked begin to wait for children. What is to be started is for the look that a
-- due row (kind 3) asks for.
WITH begun AS (
    INSERT INTO task_children (tenant_id, execution_id, task, total, parallel, tolerated, abandons)
    SELECT $1::uuid, new.*
    FROM unnest($3::uuid[], $4::smallint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::boolean[])
        AS new (execution_id, task, total, parallel, tolerated, abandons)
    ON CONFLICT DO NOTHING
)
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT DISTINCT $1, 3, coalesce($2::timestamptz, now()), execution_id, '' FROM unnest($3) AS asked (execution_id)
ON CONFLICT DO NOTHING
