-- After executions ended: the schedules that started them are looked at now. Those that are not over, and
-- those that nobody scheduled, are left out.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1::uuid, 2, coalesce($2::timestamptz, now()), execution.schedule_id, candidate.id::text
FROM unnest($3::uuid[]) AS candidate (id)
CROSS JOIN LATERAL (
    SELECT schedule_id FROM workflow_executions
    WHERE tenant_id = $1 AND id = candidate.id AND finished_at IS NOT NULL AND schedule_id IS NOT NULL
    OFFSET 0
) AS execution
ON CONFLICT DO NOTHING
