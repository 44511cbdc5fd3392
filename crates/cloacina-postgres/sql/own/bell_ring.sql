-- The bell is rung by a function, in which every statement has a snapshot of its own.
SELECT coalesce(earliest.due_at <= coalesce($2::timestamptz, now()), false) AS due, cloacina.ring(earliest.due_at) AS known
FROM (
    SELECT least(min(first.due_at), $3::timestamptz) AS due_at
    FROM generate_series(0, 9) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT ready.due_at FROM ready_tasks AS ready
        WHERE ready.tenant_id = $1::uuid AND ready.priority = level.priority
        ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
    ) AS first
) AS earliest
