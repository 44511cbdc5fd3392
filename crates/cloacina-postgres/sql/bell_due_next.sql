-- The earliest ready and due rows of a place, whatever workflow they belong to; of the due rows, of the kinds
-- `$3` and of the others. Times that are not within reach, which a tenant may have written, are the nearest
-- that are.
WITH earliest AS MATERIALIZED (
    SELECT all_kinds.kind, first.due_at
    FROM generate_series(0, 15) AS all_kinds (kind)
    CROSS JOIN LATERAL (
        SELECT due.due_at FROM due_rows AS due
        WHERE due.tenant_id = $1::uuid AND due.kind = all_kinds.kind
        ORDER BY due.due_at, due.subject, due.cause LIMIT 1
    ) AS first
)
SELECT coalesce($2::timestamptz, now()) AS now,
    (
        SELECT min(least(greatest(first.due_at, '1970-01-01'), '9000-01-01'))
        FROM generate_series(0, 9) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ready.due_at FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority
            ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
        ) AS first
    ) AS work,
    (SELECT min(earliest.due_at) FILTER (WHERE earliest.kind = ANY ($3::smallint[])) FROM earliest) AS due,
    (SELECT min(earliest.due_at) FILTER (WHERE earliest.kind <> ALL ($3)) FROM earliest) AS unknown,
    EXISTS (SELECT FROM ready_tasks AS ready WHERE ready.tenant_id = $1 AND ready.fingerprint = 0) AS unexpanded
