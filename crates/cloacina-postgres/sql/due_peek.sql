-- Of which of the kinds `$3` rows are due.
SELECT wanted.kind
FROM unnest($3::smallint[]) AS wanted (kind)
CROSS JOIN LATERAL (
    SELECT FROM due_rows
    WHERE tenant_id = $1::uuid AND kind = wanted.kind AND due_at <= coalesce($2::timestamptz, now())
    LIMIT 1
) AS due
