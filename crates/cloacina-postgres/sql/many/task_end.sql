-- `task_end`, for places whose rows lie in the same tables.
UPDATE task_executions AS task SET
    state = outcome.state,
    outcome = outcome.outcome,
    failures = least(task.failures, 2147483646) + CASE WHEN outcome.outcome IN ('failed', 'panicked', 'timed_out') THEN 1 ELSE 0 END,
    finished_at = coalesce($2::timestamptz, now()),
    patch = coalesce(outcome.patch::json, task.patch),
    error = coalesce(outcome.error, task.error),
    skip_reason = outcome.skip_reason
FROM unnest($1::uuid[], $4::uuid[], $5::smallint[], $6::integer[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[])
    AS outcome (tenant_id, execution_id, task, attempt, state, outcome, patch, error, skip_reason)
CROSS JOIN LATERAL (
    SELECT ctid FROM task_executions AS held
    WHERE held.tenant_id = outcome.tenant_id AND held.execution_id = outcome.execution_id AND held.task = outcome.task
      AND held.state = 'running' AND held.runner_id = $3::uuid AND held.attempt = outcome.attempt
    OFFSET 0
) AS held
WHERE task.ctid = held.ctid
RETURNING task.tenant_id, task.execution_id, task.task, true AS recorded
