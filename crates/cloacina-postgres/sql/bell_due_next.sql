-- The earliest unclaimed rows of a place, whatever workflow they belong to. Times that are not within reach, which a tenant may have
-- written, are the nearest that are.
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
    (
        SELECT least(greatest(ready.due_at, '1970-01-01'), '9000-01-01') FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1 AND ready.priority = -1
        ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
    ) AS deadline
