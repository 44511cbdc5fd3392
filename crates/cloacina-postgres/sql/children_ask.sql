-- The children of these executions are looked at now, of those that have begun to wait for any.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1::uuid, 3, coalesce($2::timestamptz, now()), asked.id, ''
FROM unnest($3::uuid[]) AS asked (id)
WHERE EXISTS (
    SELECT FROM task_children AS counted WHERE counted.tenant_id = $1 AND counted.execution_id = asked.id
    OFFSET 0
)
ON CONFLICT DO NOTHING
