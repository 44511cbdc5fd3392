-- Step 4 of a flush: records outcomes, marks handled failures, counts successors down and puts into the ready
-- table what may run and is not claimed here. One statement is safe because the executions were locked in the
-- one before.
--
-- Lists that belong to an outcome travel as array literals in its row, so that they are expanded from the
-- rows that were recorded and nothing joins two lists. No row is written twice: what is recorded was running,
-- what is handled had failed, what is counted down was waiting. Rows that a tenant made up (a count too low,
-- an attempt that is there already) are put right or left, and raise nothing: what travels in the same
-- statement is not theirs.
--
-- Rows are found by their key in a lateral with OFFSET 0, and changed by their ctid, which cannot move under
-- the execution's lock. As a plain join the planner may turn it round and walk the whole place for each list:
-- it does so if the plan is made, and kept, while the table is small.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
recorded AS (
    UPDATE task_executions AS task SET
        state = outcome.state,
        outcome = CASE WHEN outcome.state <> 'ready' THEN outcome.outcome END,
        failures = least(task.failures, 2147483646) + CASE WHEN outcome.outcome IN ('failed', 'panicked', 'timed_out') THEN 1 ELSE 0 END,
        due_at = CASE WHEN outcome.state = 'ready'
            THEN (SELECT now FROM clock) + outcome.after_us * interval '1 microsecond' ELSE task.due_at END,
        finished_at = CASE WHEN outcome.state <> 'ready' THEN (SELECT now FROM clock) END,
        -- Otherwise what it kept so far, which almost none does.
        patch = coalesce(outcome.patch::json, task.patch),
        error = coalesce(outcome.error, task.error),
        skip_reason = outcome.skip_reason
    FROM unnest($4::uuid[], $5::smallint[], $6::integer[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                $12::bigint[], $13::text[], $14::text[], $15::text[])
        AS outcome (execution_id, task, attempt, state, outcome, patch, error, skip_reason, after_us, successors, becomes, handles)
    CROSS JOIN LATERAL (
        SELECT ctid FROM task_executions AS held
        WHERE held.tenant_id = $1::uuid AND held.execution_id = outcome.execution_id AND held.task = outcome.task
          -- A wait was never claimed, and ends under the lock of whoever looked that it still waits.
          AND CASE WHEN outcome.attempt = 0 THEN held.state = 'waiting'
              ELSE held.state = 'running' AND held.runner_id = $3::uuid AND held.attempt = outcome.attempt END
        OFFSET 0
    ) AS held
    WHERE task.ctid = held.ctid
    RETURNING task.execution_id, task.task, task.attempt, task.state, task.due_at, task.started_at,
              outcome.outcome, outcome.error, outcome.successors, outcome.becomes, outcome.handles
),
attempted AS (
    INSERT INTO task_attempts (tenant_id, execution_id, task, attempt, outcome, error, runner_id, started_at, finished_at)
    SELECT $1, recorded.execution_id, recorded.task, recorded.attempt, recorded.outcome, recorded.error, $3,
           recorded.started_at, clock.now
    FROM recorded, clock
    WHERE recorded.state = 'ready'
    ON CONFLICT DO NOTHING
),
handled AS (
    UPDATE task_executions AS task SET handled = true
    FROM (
        SELECT DISTINCT recorded.execution_id, unnest(recorded.handles::smallint[]) AS task
        FROM recorded WHERE recorded.handles IS NOT NULL
    ) AS failure
    CROSS JOIN LATERAL (
        SELECT ctid FROM task_executions AS failed
        WHERE failed.tenant_id = $1 AND failed.execution_id = failure.execution_id AND failed.task = failure.task
          AND failed.state = 'failed' AND NOT failed.handled
        OFFSET 0
    ) AS failed
    WHERE task.ctid = failed.ctid
),
counted AS (
    UPDATE task_executions AS task SET
        waiting_on = greatest(task.waiting_on - successor.over, 0),
        state = CASE WHEN task.waiting_on > successor.over THEN 'pending' WHEN successor.waits THEN 'waiting' WHEN claim.granted THEN 'running' ELSE 'ready' END,
        due_at = CASE WHEN task.waiting_on <= successor.over THEN claim.now END,
        attempt = CASE WHEN task.waiting_on <= successor.over AND claim.granted THEN least(task.attempt, 2147483646) + 1 ELSE task.attempt END,
        runner_id = CASE WHEN task.waiting_on <= successor.over AND claim.granted THEN $3 END,
        started_at = CASE WHEN task.waiting_on <= successor.over AND (claim.granted OR successor.waits) THEN claim.now END
    FROM (
        -- One successor may have waited for several of these.
        SELECT recorded.execution_id, entry.task, count(*) AS over, bool_or(entry.becomes = 'c') AS wanted,
               bool_or(entry.becomes = 'w') AS waits
        FROM recorded, unnest(recorded.successors::smallint[], recorded.becomes::text[]) AS entry (task, becomes)
        WHERE recorded.successors IS NOT NULL
        GROUP BY recorded.execution_id, entry.task
    ) AS successor
    CROSS JOIN LATERAL (
        SELECT state, priority, workflow, fingerprint FROM workflow_executions
        WHERE tenant_id = $1 AND id = successor.execution_id
        OFFSET 0
    ) AS execution
    CROSS JOIN LATERAL (
        SELECT ctid FROM task_executions AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.execution_id = successor.execution_id AND waiting.task = successor.task
          AND waiting.state = 'pending'
        OFFSET 0
    ) AS waiting
    -- Nothing of a paused execution is claimed.
    CROSS JOIN LATERAL (
        SELECT clock.now, successor.wanted AND execution.state = 'running' AS granted FROM clock
    ) AS claim
    WHERE task.ctid = waiting.ctid
    RETURNING task.execution_id, task.task, task.state, task.attempt, task.due_at,
              execution.state AS execution_state, execution.priority, execution.workflow, execution.fingerprint
),
ready AS (
    INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
    SELECT $1, priority, due_at, execution_id, task, workflow, fingerprint
    FROM counted
    WHERE state = 'ready' AND execution_state <> 'paused'
    UNION ALL
    SELECT $1, execution.priority, recorded.due_at, recorded.execution_id, recorded.task, execution.workflow, execution.fingerprint
    FROM recorded
    CROSS JOIN LATERAL (
        SELECT priority, workflow, fingerprint FROM workflow_executions
        WHERE tenant_id = $1 AND id = recorded.execution_id AND state <> 'paused'
        OFFSET 0
    ) AS execution
    WHERE recorded.state = 'ready'
    ON CONFLICT DO NOTHING
)
SELECT execution_id, task, true AS recorded, NULL::integer AS attempt FROM recorded
UNION ALL
SELECT execution_id, task, false, CASE WHEN state = 'running' THEN attempt END FROM counted WHERE state <> 'pending'
