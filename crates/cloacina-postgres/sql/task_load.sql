-- No workflow has more tasks than this, and what a tenant wrote may have any number.
-- On sizes see `execution_load`; here all patches of an execution count together, as they are stored.
SELECT execution_id, task, left(name, 1000) AS name, state, attempt, failures, lost, runner_id, started_at, finished_at,
       CASE WHEN sum(pg_column_size(patch)) OVER one > 67108864 THEN NULL
            WHEN pg_column_size(patch) <= 8192 THEN patch::text
            WHEN octet_length(patch::text) <= 67108864 THEN patch::text END AS patch,
       patch IS NOT NULL AS has_patch, left(error, 65536) AS error, skip_reason, handled
FROM task_executions
WHERE tenant_id = $1::uuid AND execution_id = ANY ($2::uuid[]) AND task < 10000
WINDOW one AS (PARTITION BY execution_id)
ORDER BY execution_id, task
