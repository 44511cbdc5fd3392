-- The due rows of children (kind 3) after `$3`, `$4`, `$5`, each with the execution that it is about, if that
-- is not over and somebody here knows its workflow, and with the child that it names, if that is over. It
-- locks nothing.
--
-- A tenant may have written any row: a cause that is no id finds no child.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
front AS MATERIALIZED (
    SELECT due_at, subject, cause,
           CASE WHEN cause ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN cause::uuid END AS child_id
    FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = 3 AND due_at <= (SELECT now FROM clock)
      AND (due_at, subject, cause) > (coalesce($3::timestamptz, '-infinity'), $4::uuid, $5::text)
    ORDER BY due_at, subject, cause
    LIMIT $6::bigint
)
SELECT front.*, left(execution.workflow, 1000) AS workflow, execution.fingerprint, execution.known, execution.priority,
       execution.deadline, execution.state = 'paused' AS is_paused, child.parent_node, child.item, child.state, child.error
FROM front
LEFT JOIN LATERAL (
    SELECT workflow, fingerprint, priority, deadline, state, EXISTS (
        SELECT FROM unnest($7::text[], $8::bigint[]) AS registered (workflow, fingerprint)
        WHERE registered.workflow = open.workflow AND registered.fingerprint = open.fingerprint
        OFFSET 0
    ) AS known
    FROM workflow_executions AS open
    WHERE open.tenant_id = $1 AND open.id = front.subject AND open.finished_at IS NULL
    OFFSET 0
) AS execution ON true
LEFT JOIN LATERAL (
    -- By its id alone: among all children of its parent it would take as long as there are many.
    SELECT parent_id, parent_node, item, state, left(error, 1000) AS error
    FROM workflow_executions AS ended
    WHERE ended.tenant_id = $1 AND ended.id = front.child_id AND ended.finished_at IS NOT NULL
    OFFSET 0
) AS child ON execution.known AND child.parent_id = front.subject
ORDER BY front.due_at, front.subject, front.cause
