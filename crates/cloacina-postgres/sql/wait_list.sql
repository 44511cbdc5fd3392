-- The open waits after `$3`, `$4`, in the order of executions: of one execution, or only those that ask, if
-- that is asked for.
SELECT wait.execution_id, wait.task, left(node.name, 1000) AS name, left(execution.workflow, 1000) AS workflow,
       node.started_at AS reached_at, left(wait.signal, 1000) AS signal, wait.until, wait.ask::text AS ask
FROM (
    SELECT execution_id, task, signal, until, ask FROM task_waits
    WHERE tenant_id = $1::uuid AND ($2::uuid IS NULL OR execution_id = $2)
      AND (execution_id, task) > ($3::uuid, $4::smallint) AND (NOT $5::boolean OR ask IS NOT NULL)
    ORDER BY execution_id, task
    LIMIT $6::bigint
) AS wait
CROSS JOIN LATERAL (
    SELECT name, started_at FROM task_executions
    WHERE tenant_id = $1 AND execution_id = wait.execution_id AND task = wait.task AND state = 'waiting'
    OFFSET 0
) AS node
CROSS JOIN LATERAL (
    SELECT workflow FROM workflow_executions
    WHERE tenant_id = $1 AND id = wait.execution_id AND finished_at IS NULL
    OFFSET 0
) AS execution
ORDER BY wait.execution_id, wait.task
