-- When schedules are to be looked at next.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT next.tenant_id, 2, next.due_at, next.id, ''
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) AS next (tenant_id, id, due_at)
WHERE next.due_at IS NOT NULL
ON CONFLICT DO NOTHING
