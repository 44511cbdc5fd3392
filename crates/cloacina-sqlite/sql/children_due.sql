-- The due rows of children after ?3, ?4, ?5, each with the execution that it is about, if that is not over.
SELECT due.due_at, due.subject, due.cause, execution.workflow, execution.fingerprint, execution.priority, execution.deadline, execution.state
FROM (
    SELECT due_at, subject, cause FROM due_rows
    WHERE tenant_id = ?1 AND kind = 3 AND due_at <= ?2 AND (due_at, subject, cause) > (?3, ?4, ?5)
    ORDER BY due_at, subject, cause
    LIMIT ?6
) AS due
LEFT JOIN workflow_executions AS execution
    ON execution.tenant_id = ?1 AND execution.id = due.subject AND execution.finished_at IS NULL
ORDER BY due.due_at, due.subject, due.cause
