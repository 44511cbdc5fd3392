-- What a tenant with a login of its own wrote may be a gigabyte: its size is looked at here, before it is sent, and a text that is too
-- long is cut. A value that is stored in 8 kB is not above 2 MB however it was compressed, so most are not unpacked for the look. Once
-- 64 MiB are together the inputs that follow are left out; whoever asked for many then asks for each.
WITH sized AS (
    SELECT *, CASE WHEN pg_column_size(input) <= 8192 THEN pg_column_size(input)
                   WHEN pg_column_size(input) <= 67108864 THEN octet_length(input::text) ELSE 67108865 END AS size
    FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = ANY ($2::uuid[])
)
SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline,
       left(error, 65536) AS error,
       CASE WHEN size <= 67108864 AND sum(size) OVER (ORDER BY id) - size <= 67108864 THEN input::text END AS input
FROM sized
ORDER BY id
