-- Deletes executions that ended like this long ago, the oldest end first, with all that belongs to them. A
-- finished row changes only when it is rerun: what is locked for that goes another time.
--
-- What came from one goes before it: of each, children that have none themselves, a few thousand at once, as
-- long as nothing above them is open. One that has any left is for the next time.
WITH RECURSIVE old AS MATERIALIZED (
    SELECT id FROM workflow_executions AS old
    WHERE tenant_id = $1::uuid AND state = $5::text AND finished_at < coalesce($2::timestamptz, now()) - $3::bigint * interval '1 microsecond'
      AND parent_id IS NULL
      -- What took the place of one that has children, or emitted anything, may read what it finds there: it
      -- goes first.
      AND (superseded_by IS NULL OR NOT (EXISTS (
          SELECT FROM task_children WHERE tenant_id = $1 AND execution_id = old.id OFFSET 0
      ) OR EXISTS (
          SELECT FROM task_pages WHERE tenant_id = $1 AND execution_id = old.id OFFSET 0
      )) OR NOT EXISTS (
          SELECT FROM workflow_executions AS new WHERE new.tenant_id = $1 AND new.id = old.superseded_by OFFSET 0
      ))
    ORDER BY finished_at
    LIMIT $4::bigint
    FOR UPDATE SKIP LOCKED
),
below (id, is_over, depth) AS (
    SELECT child.id, child.is_over, 1
    FROM old
    CROSS JOIN LATERAL (
        SELECT id, finished_at IS NOT NULL AS is_over FROM workflow_executions AS child
        WHERE child.tenant_id = $1 AND child.parent_id = old.id
        LIMIT 1000
    ) AS child
    UNION ALL
    SELECT child.id, child.is_over, below.depth + 1
    FROM below
    CROSS JOIN LATERAL (
        SELECT id, finished_at IS NOT NULL AS is_over FROM workflow_executions AS child
        WHERE child.tenant_id = $1 AND child.parent_id = below.id
        LIMIT 1000
    ) AS child
    WHERE below.is_over AND below.depth < 64
),
leaf AS MATERIALIZED (
    SELECT below.id
    FROM below
    WHERE below.is_over AND NOT EXISTS (
        SELECT FROM workflow_executions AS child WHERE child.tenant_id = $1 AND child.parent_id = below.id
        OFFSET 0
    )
    LIMIT 4096
),
gone AS MATERIALIZED (
    SELECT id FROM leaf
    UNION ALL
    SELECT id FROM old WHERE NOT EXISTS (
        SELECT FROM workflow_executions AS child WHERE child.tenant_id = $1 AND child.parent_id = old.id
        OFFSET 0
    )
),
attempts AS (
    DELETE FROM task_attempts AS attempt USING gone WHERE attempt.tenant_id = $1 AND attempt.execution_id = gone.id
),
tags AS (
    DELETE FROM execution_tags AS tagged
    USING gone
    CROSS JOIN LATERAL (
        SELECT tags FROM workflow_executions WHERE tenant_id = $1 AND id = gone.id AND tags IS NOT NULL OFFSET 0
    ) AS execution
    CROSS JOIN LATERAL unnest(execution.tags) AS its (tag)
    WHERE tagged.tenant_id = $1 AND tagged.tag = its.tag AND tagged.execution_id = gone.id
),
tasks AS (
    DELETE FROM task_executions AS task USING gone WHERE task.tenant_id = $1 AND task.execution_id = gone.id
)
DELETE FROM workflow_executions AS execution USING gone
WHERE execution.tenant_id = $1 AND execution.id = gone.id
RETURNING execution.id, execution.has_waits
