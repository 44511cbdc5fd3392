-- Cancels executions that are locked already, with everything of theirs that is not over. On the ctids see
-- `task_record`.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
cancelled AS (
    UPDATE workflow_executions AS execution SET state = 'cancelled', finished_at = clock.now, error = $4::text
    FROM unnest($3::uuid[]) AS wanted (id)
    CROSS JOIN LATERAL (
        SELECT ctid FROM workflow_executions AS open
        WHERE open.tenant_id = $1::uuid AND open.id = wanted.id AND open.finished_at IS NULL
        OFFSET 0
    ) AS open, clock
    WHERE execution.ctid = open.ctid
    RETURNING execution.id, execution.priority, execution.deadline, execution.expands_at
),
ended AS (
    UPDATE task_executions AS task SET
        state = 'cancelled', finished_at = clock.now,
        outcome = CASE WHEN task.state = 'running' THEN 'cancelled' END
    FROM cancelled
    CROSS JOIN LATERAL (
        SELECT ctid FROM task_executions AS open
        WHERE open.tenant_id = $1 AND open.execution_id = cancelled.id AND open.state IN ('pending', 'waiting', 'ready', 'running')
        OFFSET 0
    ) AS open, clock
    WHERE task.ctid = open.ctid
    RETURNING task.execution_id, task.task, task.due_at, cancelled.priority
),
taken AS (
    -- Tasks that were running have a due time and no row; they find nothing.
    DELETE FROM ready_tasks AS ready
    USING ended
    CROSS JOIN LATERAL (
        SELECT ctid FROM ready_tasks AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.priority = ended.priority AND waiting.due_at = ended.due_at
          AND waiting.execution_id = ended.execution_id AND waiting.task = ended.task
        OFFSET 0
    ) AS waiting
    WHERE ended.due_at IS NOT NULL AND ready.ctid = waiting.ctid
),
unexpanded AS (
    DELETE FROM ready_tasks AS ready
    USING cancelled
    CROSS JOIN LATERAL (
        SELECT ctid FROM ready_tasks AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.priority = cancelled.priority AND waiting.due_at = cancelled.expands_at
          AND waiting.execution_id = cancelled.id AND waiting.task = 0
        OFFSET 0
    ) AS waiting
    WHERE cancelled.expands_at IS NOT NULL AND ready.ctid = waiting.ctid
),
waits AS (
    -- Only waits have one.
    DELETE FROM due_rows AS due
    USING ended
    CROSS JOIN LATERAL (
        SELECT ctid FROM due_rows AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.kind = 1 AND waiting.due_at = ended.due_at
          AND waiting.subject = ended.execution_id AND waiting.cause = ended.task::text
        OFFSET 0
    ) AS waiting
    WHERE ended.due_at IS NOT NULL AND due.ctid = waiting.ctid
),
deadline AS (
    -- If it was taken as a due row, it is gone already.
    DELETE FROM due_rows AS due
    USING cancelled
    CROSS JOIN LATERAL (
        SELECT ctid FROM due_rows AS waiting
        WHERE waiting.tenant_id = $1 AND waiting.kind = 0 AND waiting.due_at = cancelled.deadline
          AND waiting.subject = cancelled.id AND waiting.cause = ''
        OFFSET 0
    ) AS waiting
    WHERE cancelled.deadline IS NOT NULL AND due.ctid = waiting.ctid
)
SELECT id FROM cancelled
