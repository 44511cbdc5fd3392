-- A page of executions, in the order of their ids. What a tenant with a login of its own wrote may be a
-- gigabyte: its size is looked at here, before it is sent, and a text that is too long is cut. No compression
-- makes a value more than 255 times as small (lz4; pglz reaches 91), so most need not be unpacked for the
-- look. A page ends at 64 MiB by that count, and has one execution at least; its input is left out if it has
-- more bytes than $3.
WITH sized AS MATERIALIZED (
    SELECT execution.*,
           4096 + coalesce(least(octet_length(error), 262144), 0)
           + pg_column_size(input)::bigint * CASE WHEN pg_column_compression(input) IS NULL THEN 1 ELSE 255 END AS most
    FROM unnest($2::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (SELECT * FROM workflow_executions WHERE tenant_id = $1::uuid AND id = wanted.id OFFSET 0) AS execution
),
page AS (
    SELECT *, sum(most) OVER (ORDER BY id) AS together,
           row_number() OVER (ORDER BY id) AS number, count(*) OVER () AS found
    FROM sized
)
SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, rerun_of, superseded_by, has_waits, left(submitted_by, 200) AS submitted_by, tags,
       left(error, 65536) AS error, number = found AS is_last,
       CASE WHEN together <= 67108864 THEN input::text
            WHEN pg_column_size(input) <= $3::bigint AND octet_length(input::text) <= $3 THEN input::text END AS input
FROM page
WHERE together <= 67108864 OR number = 1
ORDER BY id
