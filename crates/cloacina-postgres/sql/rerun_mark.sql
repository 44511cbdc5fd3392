-- After reruns were inserted: each of two executions says which the other one is, and the new one starts what
-- the old one did if it fails, which a schedule may have said. The old ones are locked.
WITH pair AS MATERIALIZED (
    SELECT * FROM unnest($2::uuid[], $3::uuid[]) AS pair (old_id, new_id)
),
old AS (
    UPDATE workflow_executions AS execution SET superseded_by = pair.new_id
    FROM pair
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS old WHERE old.tenant_id = $1::uuid AND old.id = pair.old_id OFFSET 0
    ) AS old
    WHERE execution.ctid = old.ctid
)
UPDATE workflow_executions AS execution SET
    rerun_of = pair.old_id, on_failure = coalesce(failed.on_failure, execution.on_failure)
FROM pair
CROSS JOIN LATERAL (
    SELECT on_failure FROM workflow_executions AS failed WHERE failed.tenant_id = $1 AND failed.id = pair.old_id OFFSET 0
) AS failed
CROSS JOIN LATERAL (
    SELECT ctid FROM workflow_executions AS new WHERE new.tenant_id = $1 AND new.id = pair.new_id OFFSET 0
) AS new
WHERE execution.ctid = new.ctid
