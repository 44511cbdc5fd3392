-- Schedules by their names: all, those of these names, or those of an origin as well.
SELECT schedule.*, last.state AS last_state, ARRAY(
    SELECT open.id
    FROM unnest(schedule.backfilling) AS started (id)
    CROSS JOIN LATERAL (
        SELECT id FROM workflow_executions
        WHERE tenant_id = $1 AND id = started.id AND finished_at IS NULL
        OFFSET 0
    ) AS open
) AS open
FROM (
    SELECT id, name, origin, state, reason, version, cursor_at, due_at, last_execution, backfilling, spec::text AS spec, progress::text AS progress
    FROM schedules
    WHERE tenant_id = $1::uuid AND ($2::boolean OR name = ANY ($3::text[]) OR origin = $4::text)
    ORDER BY name
    LIMIT $5::bigint
) AS schedule
LEFT JOIN LATERAL (
    SELECT execution.state FROM workflow_executions AS execution
    WHERE execution.tenant_id = $1 AND execution.id = schedule.last_execution
    OFFSET 0
) AS last ON true
ORDER BY schedule.name
