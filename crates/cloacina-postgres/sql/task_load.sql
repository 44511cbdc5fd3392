-- A page of the tasks of executions, in the order of the ids that were given and of the tasks; of the first
-- execution those after $3. On sizes see `execution_load`: a page ends at 64 MiB, has one task at least, and
-- never more than 16,384, which by themselves count as much. No workflow has more than 10,000 tasks, and what
-- a tenant wrote may have any number.
WITH sized AS MATERIALIZED (
    SELECT wanted.position, task.*,
           4096 + coalesce(least(octet_length(error), 262144), 0)
           + coalesce(pg_column_size(patch)::bigint * CASE WHEN pg_column_compression(patch) IS NULL THEN 1 ELSE 255 END, 0) AS most
    FROM unnest($2::uuid[]) WITH ORDINALITY AS wanted (id, position)
    CROSS JOIN LATERAL (
        SELECT * FROM task_executions
        WHERE tenant_id = $1::uuid AND execution_id = wanted.id AND task < 10000 AND task > CASE wanted.position WHEN 1 THEN $3::smallint ELSE -1 END
        ORDER BY task
        LIMIT 16384
    ) AS task
    LIMIT 16384
),
page AS (
    SELECT *, sum(most) OVER rows AS together, row_number() OVER rows AS number, count(*) OVER () AS found
    FROM sized
    WINDOW rows AS (ORDER BY position, task)
)
SELECT execution_id, task, left(name, 1000) AS name, state, attempt, failures, lost, runner_id, started_at, finished_at,
       CASE WHEN together <= 67108864 THEN patch::text
            WHEN pg_column_size(patch) <= $4::bigint AND octet_length(patch::text) <= $4 THEN patch::text END AS patch,
       patch IS NOT NULL AS has_patch, left(error, 65536) AS error, skip_reason, handled,
       number = found AND found < 16384 AS is_last
FROM page
WHERE together <= 67108864 OR number = 1
ORDER BY position, task
