-- `execution_list` of some states, all of which are named, and of one workflow, or of any (null) but one.
-- Each state has a part of the index, and in it each workflow: of every part the newest are looked at, so
-- that it takes no longer where few of many are wanted.
WITH RECURSIVE part (state, workflow) AS (
    SELECT wanted.state, coalesce($4::text, (
        SELECT workflow FROM workflow_executions AS first
        WHERE first.tenant_id = $1::uuid AND first.state = wanted.state AND first.priority >= 0
        ORDER BY first.workflow LIMIT 1
    ))
    FROM (SELECT DISTINCT unnest($3::text[]) AS state) AS wanted
    UNION ALL
    SELECT part.state, (
        SELECT workflow FROM workflow_executions AS next
        WHERE next.tenant_id = $1 AND next.state = part.state AND next.priority >= 0 AND next.workflow > part.workflow
        ORDER BY next.workflow LIMIT 1
    )
    FROM part WHERE part.workflow IS NOT NULL AND $4 IS NULL
),
page AS (
    SELECT newest.id
    FROM part
    CROSS JOIN LATERAL (
        SELECT id FROM workflow_executions AS listed
        WHERE listed.tenant_id = $1 AND listed.state = part.state AND listed.priority >= 0 AND listed.workflow = part.workflow
          AND listed.parent_id IS NULL AND listed.id < $2::uuid
        ORDER BY listed.id DESC LIMIT $5::bigint
    ) AS newest
    WHERE part.workflow IS DISTINCT FROM $6::text
    ORDER BY newest.id DESC
    LIMIT $5
)
SELECT execution.id, left(workflow, 1000) AS workflow, fingerprint, state, priority, created_at, started_at, finished_at, deadline, rerun_of, superseded_by, has_waits, left(submitted_by, 200) AS submitted_by, tags,
       left(error, CASE WHEN sum(least(octet_length(error), 262144)) OVER (ORDER BY execution.id DESC) <= 67108864 THEN 65536 ELSE 100 END) AS error
FROM page
CROSS JOIN LATERAL (SELECT * FROM workflow_executions WHERE tenant_id = $1 AND id = page.id OFFSET 0) AS execution
ORDER BY execution.id DESC
