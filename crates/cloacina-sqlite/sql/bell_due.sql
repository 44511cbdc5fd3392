-- One seek for each priority of ready tasks, and for each kind of due rows.
SELECT EXISTS (
    SELECT 1
    FROM (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0)) AS level
    CROSS JOIN ready_tasks
    WHERE tenant_id = ?1 AND priority = level.column1 AND due_at <= ?2
) OR EXISTS (
    SELECT 1
    FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15)) AS every
    CROSS JOIN due_rows
    WHERE tenant_id = ?1 AND kind = every.column1 AND due_at <= ?2
)
