-- The earliest unclaimed rows of a place, whatever workflow they belong to.
SELECT coalesce($2::timestamptz, now()) AS now,
    (
        SELECT min(first.due_at)
        FROM generate_series(0, 9) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ready.due_at FROM ready_tasks AS ready
            WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority
            ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
        ) AS first
    ) AS work,
    (
        SELECT ready.due_at FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1 AND ready.priority = -1
        ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
    ) AS deadline
