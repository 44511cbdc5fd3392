-- When the executions ended that have been kept longest, by how they ended. Several tenants share tables.
-- Whoever may write there may have written any time.
WITH ended AS (
    SELECT wanted.tenant_id,
           (SELECT finished_at FROM workflow_executions
            WHERE tenant_id = wanted.tenant_id AND state = 'completed' AND finished_at IS NOT NULL
              AND parent_id IS NULL
            ORDER BY finished_at LIMIT 1) AS completed,
           (SELECT finished_at FROM workflow_executions
            WHERE tenant_id = wanted.tenant_id AND state = 'failed' AND finished_at IS NOT NULL
              AND parent_id IS NULL
            ORDER BY finished_at LIMIT 1) AS failed,
           (SELECT finished_at FROM workflow_executions
            WHERE tenant_id = wanted.tenant_id AND state = 'cancelled' AND finished_at IS NOT NULL
              AND parent_id IS NULL
            ORDER BY finished_at LIMIT 1) AS cancelled
    FROM unnest($1::uuid[]) AS wanted (tenant_id)
)
SELECT tenant_id,
       CASE WHEN completed IS NOT NULL
           THEN least(greatest(completed, 'epoch'), '9000-01-01 00:00:00+00') END AS completed,
       CASE WHEN failed IS NOT NULL
           THEN least(greatest(failed, 'epoch'), '9000-01-01 00:00:00+00') END AS failed,
       CASE WHEN cancelled IS NOT NULL
           THEN least(greatest(cancelled, 'epoch'), '9000-01-01 00:00:00+00') END AS cancelled
FROM ended
