-- Step 2 of a flush: the tasks of the new executions, and ready rows for those that wait for nothing and are
-- not claimed.
--
-- A statement after the insert of the executions, because the executions that met an idempotency key have no
-- row under the id that was sent: that row is looked up by its key, once per task, instead of joining two
-- lists.
WITH inserted AS (
    INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at)
    SELECT $1::uuid, new.execution_id, new.task, new.name,
           CASE WHEN new.waiting_on > 0 THEN 'pending' WHEN new.claimed THEN 'running' WHEN new.is_wait THEN 'waiting' ELSE 'ready' END,
           new.waiting_on,
           CASE WHEN new.claimed THEN 1 ELSE 0 END,
           CASE WHEN new.claimed THEN $3::uuid END,
           CASE WHEN new.waiting_on = 0 THEN coalesce(new.start_at, clock.now) END,
           CASE WHEN new.claimed THEN clock.now WHEN new.waiting_on = 0 AND new.is_wait THEN coalesce(new.start_at, clock.now) END
    FROM (SELECT coalesce($2::timestamptz, now()) AS now) AS clock,
         unnest($4::uuid[], $5::smallint[], $6::text[], $7::smallint[], $8::boolean[], $9::timestamptz[],
                $10::boolean[])
             AS new (execution_id, task, name, waiting_on, claimed, start_at, is_wait)
    WHERE EXISTS (
        SELECT FROM workflow_executions AS execution
        WHERE execution.tenant_id = $1 AND execution.id = new.execution_id
        OFFSET 0
    )
    ON CONFLICT DO NOTHING
    RETURNING execution_id, task, state, due_at
)
INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
SELECT $1, execution.priority, inserted.due_at, inserted.execution_id, inserted.task, execution.workflow, execution.fingerprint
FROM inserted
CROSS JOIN LATERAL (
    SELECT priority, workflow, fingerprint FROM workflow_executions
    WHERE tenant_id = $1 AND id = inserted.execution_id
    OFFSET 0
) AS execution
WHERE inserted.state = 'ready'
