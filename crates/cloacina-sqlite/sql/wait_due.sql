-- The due rows of waits after ?3, ?4, ?5, each with the execution and the node that it is about, if they
-- still wait.
SELECT due.due_at, due.subject, due.cause, execution.workflow, execution.fingerprint, node.task, node.started_at
FROM (
    SELECT due_at, subject, cause FROM due_rows
    WHERE tenant_id = ?1 AND kind = 1 AND due_at <= ?2 AND (due_at, subject, cause) > (?3, ?4, ?5)
    ORDER BY due_at, subject, cause
    LIMIT ?6
) AS due
LEFT JOIN workflow_executions AS execution
    ON execution.tenant_id = ?1 AND execution.id = due.subject AND execution.finished_at IS NULL
LEFT JOIN task_executions AS node
    ON node.tenant_id = ?1 AND node.execution_id = due.subject AND node.task = CAST(due.cause AS INTEGER)
    AND CAST(node.task AS TEXT) = due.cause AND node.state = 'waiting' AND node.due_at = due.due_at
ORDER BY due.due_at, due.subject, due.cause
