-- How far nodes are now that wait for children, whose executions are locked.
UPDATE task_children AS counted SET started = now.started, completed = now.completed, failed = now.failed
FROM unnest($2::uuid[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[])
         AS now (execution_id, task, started, completed, failed)
CROSS JOIN LATERAL (
    SELECT ctid FROM task_children AS before
    WHERE before.tenant_id = $1::uuid AND before.execution_id = now.execution_id AND before.task = now.task
    OFFSET 0
) AS before
WHERE counted.ctid = before.ctid
