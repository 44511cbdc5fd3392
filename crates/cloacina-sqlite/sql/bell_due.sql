-- One seek for each priority; the one of the deadlines is -1.
SELECT EXISTS (
    SELECT 1
    FROM (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0), (-1)) AS level
    CROSS JOIN ready_tasks
    WHERE tenant_id = ?1 AND priority = level.column1 AND due_at <= ?2
)
