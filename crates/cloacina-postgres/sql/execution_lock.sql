-- Step 3 of a flush, and the first step of whatever else changes tasks: a statement of its own, so that the
-- snapshot of the next one sees what the lock's last holder wrote. The ids come in their order, which keeps
-- two flushes from waiting for each other: the lateral locks row after row as they are listed.
SELECT execution.id, execution.state, execution.is_related, execution.has_waits
FROM unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, state, has_waits, schedule_id IS NOT NULL OR parent_id IS NOT NULL OR has_waits OR on_failure IS NOT NULL AS is_related FROM workflow_executions WHERE tenant_id = $1::uuid AND id = wanted.id
    OFFSET 0
    FOR NO KEY UPDATE
) AS execution
