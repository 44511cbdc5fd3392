SELECT min(first) FROM (
    SELECT (SELECT min(due_at) FROM ready_tasks WHERE tenant_id = ?1 AND priority = level.column1) AS first
    FROM (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0)) AS level
)
