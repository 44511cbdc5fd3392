-- After nodes ended that waited for children, whose executions are locked: those that are open are swept
-- (kind 4) if they do not outlive their parent.
INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
SELECT $1::uuid, 4, coalesce($2::timestamptz, now()), ended.execution_id, ended.task::text
FROM unnest($3::uuid[], $4::smallint[]) AS ended (execution_id, task)
WHERE EXISTS (
    SELECT FROM task_children AS counted
    WHERE counted.tenant_id = $1 AND counted.execution_id = ended.execution_id AND counted.task = ended.task
      AND NOT counted.abandons AND counted.started > counted.completed + counted.failed
    OFFSET 0
)
ON CONFLICT DO NOTHING
