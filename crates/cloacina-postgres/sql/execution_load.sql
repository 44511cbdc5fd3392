-- What a tenant with a login of its own wrote may be a gigabyte: its size is looked at here, before it is sent, and a text that is too
-- long is cut. A value that is stored in 8 kB is not above 2 MB however it was compressed, so most are not unpacked for the look.
SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline,
       left(error, 65536) AS error,
       CASE WHEN pg_column_size(input) <= 8192 THEN input::text
            WHEN pg_column_size(input) <= 67108864 AND octet_length(input::text) <= 67108864 THEN input::text END AS input
FROM workflow_executions
WHERE tenant_id = $1::uuid AND id = ANY ($2::uuid[])
ORDER BY id
