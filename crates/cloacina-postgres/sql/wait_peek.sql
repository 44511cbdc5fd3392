-- Whether waits are due.
SELECT FROM due_rows
WHERE tenant_id = $1::uuid AND kind = 1 AND due_at <= coalesce($2::timestamptz, now())
LIMIT 1
