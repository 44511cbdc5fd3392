-- `bell_ring`, for places whose rows lie in the same tables. They come by tenant.
WITH bell AS MATERIALIZED (
    SELECT doorbell.tenant_id, doorbell.due_at
    FROM unnest($1::uuid[]) AS wanted (tenant_id)
    CROSS JOIN LATERAL (
        SELECT tenant_id, due_at FROM cloacina.doorbell WHERE tenant_id = wanted.tenant_id
        OFFSET 0
        FOR KEY SHARE
    ) AS doorbell
),
earliest AS MATERIALIZED (
    SELECT wanted.tenant_id, least(first.due_at, wanted.due_at) AS due_at
    FROM unnest($1, $3::timestamptz[]) AS wanted (tenant_id, due_at)
    CROSS JOIN LATERAL (
        SELECT min(first.due_at) AS due_at
        FROM generate_series(0, 9) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT ready.due_at FROM ready_tasks AS ready
            WHERE ready.tenant_id = wanted.tenant_id AND ready.priority = level.priority
            ORDER BY ready.due_at, ready.execution_id, ready.task LIMIT 1
        ) AS first
    ) AS first
),
rung AS (
    UPDATE cloacina.doorbell AS doorbell SET due_at = least(doorbell.due_at, earliest.due_at)
    FROM bell JOIN earliest ON earliest.tenant_id = bell.tenant_id
    WHERE doorbell.tenant_id = bell.tenant_id
      AND earliest.due_at IS NOT NULL AND (bell.due_at IS NULL OR bell.due_at > earliest.due_at)
)
SELECT earliest.tenant_id, coalesce(earliest.due_at <= coalesce($2::timestamptz, now()), false) AS due,
       bell.tenant_id IS NOT NULL AS known
FROM earliest LEFT JOIN bell ON bell.tenant_id = earliest.tenant_id
