-- Of these executions those that schedules started and that are over.
SELECT wanted.tenant_id, execution.id, execution.schedule_id, execution.state
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT id, schedule_id, state FROM workflow_executions
    WHERE tenant_id = wanted.tenant_id AND id = wanted.id AND finished_at IS NOT NULL AND schedule_id IS NOT NULL
    OFFSET 0
) AS execution
