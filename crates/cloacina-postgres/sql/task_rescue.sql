-- Takes the tasks of a dead runner back; their attempts are lost. The executions are locked already.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
rescued AS (
    UPDATE task_executions AS task SET state = 'ready', lost = least(task.lost, 2147483646) + 1, due_at = clock.now
    FROM unnest($4::uuid[]) AS locked (id), clock
    WHERE task.tenant_id = $1::uuid AND task.execution_id = locked.id AND task.state = 'running' AND task.runner_id = $3::uuid
    RETURNING task.execution_id, task.task, task.attempt, task.due_at, task.started_at
),
attempted AS (
    INSERT INTO task_attempts (tenant_id, execution_id, task, attempt, outcome, runner_id, started_at, finished_at)
    SELECT $1, execution_id, task, attempt, 'lost', $3, started_at, due_at FROM rescued
    ON CONFLICT DO NOTHING
),
ready AS (
    INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
    SELECT $1, execution.priority, rescued.due_at, rescued.execution_id, rescued.task, execution.workflow, execution.fingerprint
    FROM rescued
    JOIN workflow_executions AS execution ON execution.tenant_id = $1 AND execution.id = rescued.execution_id
    WHERE execution.state <> 'paused'
    ON CONFLICT DO NOTHING
)
SELECT execution_id, count(*) AS tasks FROM rescued GROUP BY execution_id
