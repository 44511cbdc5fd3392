-- `bell_due_next`, for places whose rows lie in the same tables.
SELECT wanted.tenant_id, coalesce($2::timestamptz, now()) AS now,
    (
        SELECT min(least(greatest(first.due_at, '1970-01-01'), '9000-01-01'))
        FROM generate_series(0, 9) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ready.due_at FROM ready_tasks AS ready
            WHERE ready.tenant_id = wanted.tenant_id AND ready.priority = level.priority
            ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
        ) AS first
    ) AS work,
    due.due, due.unknown,
    EXISTS (SELECT FROM ready_tasks AS ready WHERE ready.tenant_id = wanted.tenant_id AND ready.fingerprint = 0) AS unexpanded
FROM unnest($1::uuid[]) AS wanted (tenant_id)
CROSS JOIN LATERAL (
    SELECT min(first.due_at) FILTER (WHERE all_kinds.kind = ANY ($3::smallint[])) AS due,
           min(first.due_at) FILTER (WHERE all_kinds.kind <> ALL ($3)) AS unknown
    FROM generate_series(0, 15) AS all_kinds (kind)
    CROSS JOIN LATERAL (
        SELECT due.due_at FROM due_rows AS due
        WHERE due.tenant_id = wanted.tenant_id AND due.kind = all_kinds.kind
        ORDER BY due.due_at, due.subject, due.cause LIMIT 1
    ) AS first
) AS due
