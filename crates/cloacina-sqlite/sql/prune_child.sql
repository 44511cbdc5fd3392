-- A child below ?2 that has none itself: the first of the first. Nothing if ?2 has no children, and null if
-- one on the way is not over.
WITH RECURSIVE down (id, depth, over) AS (
    SELECT ?2, 0, 1
    UNION ALL
    SELECT child.id, down.depth + 1, child.finished_at IS NOT NULL
    FROM down
    JOIN workflow_executions AS child ON child.rowid = (
        SELECT rowid FROM workflow_executions AS first
        WHERE first.tenant_id = ?1 AND first.parent_id = down.id
        ORDER BY first.parent_node, first.item LIMIT 1
    )
    WHERE down.over AND down.depth < 64
)
SELECT iif(over, id, NULL) FROM down WHERE depth > 0 ORDER BY depth DESC LIMIT 1
