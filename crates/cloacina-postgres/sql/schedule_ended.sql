-- Of these executions those that schedules started and that are over.
SELECT execution.id, execution.schedule_id, execution.state
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, schedule_id, state FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = wanted.id AND finished_at IS NOT NULL AND schedule_id IS NOT NULL
    OFFSET 0
) AS execution
