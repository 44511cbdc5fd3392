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
    (
        SELECT least(greatest(ready.due_at, '1970-01-01'), '9000-01-01') FROM ready_tasks AS ready
        WHERE ready.tenant_id = wanted.tenant_id AND ready.priority = -1
        ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
    ) AS deadline
FROM unnest($1::uuid[]) AS wanted (tenant_id)
