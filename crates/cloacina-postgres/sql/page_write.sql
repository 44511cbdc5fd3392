-- A page of what a task emits, while it runs. Its execution is locked. What other attempts left goes with the
-- first one.
WITH held AS MATERIALIZED (
    SELECT execution_id, task, attempt FROM task_executions
    WHERE tenant_id = $1::uuid AND execution_id = $2::uuid AND task = $3::smallint
      AND state = 'running' AND runner_id = $4::uuid AND attempt = $5::integer
),
left_over AS (
    DELETE FROM task_pages AS page USING held
    WHERE $7::bigint = 0 AND page.tenant_id = $1 AND page.execution_id = held.execution_id AND page.task = held.task
      AND page.attempt <> held.attempt
),
noted AS (
    UPDATE workflow_executions AS execution SET has_waits = true
    FROM held
    WHERE execution.tenant_id = $1 AND execution.id = held.execution_id AND NOT execution.has_waits
)
INSERT INTO task_pages AS page (tenant_id, execution_id, task, attempt, name, first, items)
SELECT $1, held.execution_id, held.task, held.attempt, $6::text, $7, $8::text::json FROM held
ON CONFLICT (tenant_id, execution_id, task, attempt, name, first) DO UPDATE SET items = excluded.items
RETURNING page.first
