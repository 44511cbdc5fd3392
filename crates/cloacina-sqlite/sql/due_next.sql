-- The earliest due row of each kind, by one seek each.
SELECT kind, first FROM (
    SELECT every.column1 AS kind,
           (SELECT min(due_at) FROM due_rows WHERE tenant_id = ?1 AND kind = every.column1) AS first
    FROM (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11), (12), (13), (14), (15)) AS every
)
WHERE first IS NOT NULL
