-- Those with a tag, newest first; of some states, all of which are named, of one workflow, or of any (null)
-- but one, and superseded, not superseded, or either (null). It walks the rows of the tag.
WITH page AS (
    SELECT execution.id
    FROM execution_tags AS tagged
    CROSS JOIN LATERAL (
        SELECT id, state, workflow, superseded_by FROM workflow_executions
        WHERE tenant_id = $1::uuid AND id = tagged.execution_id
        OFFSET 0
    ) AS execution
    WHERE tagged.tenant_id = $1 AND tagged.tag = $7::text AND tagged.execution_id < $2::uuid
      AND execution.state = ANY ($3::text[])
      AND ($4::text IS NULL OR execution.workflow = $4)
      AND execution.workflow IS DISTINCT FROM $8::text
      AND ($6::boolean IS NULL OR (execution.superseded_by IS NOT NULL) = $6)
    ORDER BY tagged.execution_id DESC
    LIMIT $5::bigint
)
SELECT execution.id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, rerun_of, superseded_by, has_waits, left(submitted_by, 200) AS submitted_by, tags,
       left(error, CASE WHEN sum(least(octet_length(error), 262144)) OVER (ORDER BY execution.id DESC) <= 67108864 THEN 65536 ELSE 100 END) AS error
FROM page
CROSS JOIN LATERAL (SELECT * FROM workflow_executions WHERE tenant_id = $1 AND id = page.id OFFSET 0) AS execution
ORDER BY execution.id DESC
