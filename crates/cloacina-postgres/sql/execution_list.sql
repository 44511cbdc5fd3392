-- Newest first: ids made later sort later. Without those of a workflow, if one is named: there are few. Once
-- the errors have 64 MiB together, those that follow are cut short.
SELECT id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, rerun_of, superseded_by, has_waits, left(submitted_by, 200) AS submitted_by, tags,
       left(error, CASE WHEN sum(least(octet_length(error), 262144)) OVER (ORDER BY id DESC) <= 67108864 THEN 65536 ELSE 100 END) AS error
FROM (
    SELECT * FROM workflow_executions WHERE tenant_id = $1::uuid AND id < $2::uuid AND parent_id IS NULL
      AND workflow IS DISTINCT FROM $4::text
    ORDER BY id DESC LIMIT $3::bigint
) AS page
ORDER BY id DESC
