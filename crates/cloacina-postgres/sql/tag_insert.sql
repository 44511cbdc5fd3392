-- Step 2 of a flush, where new executions have tags: these, and the rows by which they are found. Executions
-- that met an idempotency key have no row under the id that was sent, and get none.
WITH new AS MATERIALIZED (
    SELECT execution_id, array_agg(tag ORDER BY number) AS tags
    FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY AS new (execution_id, tag, number)
    GROUP BY execution_id
),
tagged AS (
    UPDATE workflow_executions AS execution SET tags = new.tags
    FROM new
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS recorded
        WHERE recorded.tenant_id = $1::uuid AND recorded.id = new.execution_id
        OFFSET 0
    ) AS recorded
    WHERE execution.ctid = recorded.ctid
    RETURNING execution.id, execution.tags
)
INSERT INTO execution_tags (tenant_id, tag, execution_id)
SELECT $1, tag, tagged.id FROM tagged CROSS JOIN LATERAL unnest(tagged.tags) AS tag
ON CONFLICT DO NOTHING
