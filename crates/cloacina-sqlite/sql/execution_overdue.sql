-- Executions with work that nobody has claimed for long. Asked only of places where work is due and none of
-- it is for us.
SELECT DISTINCT execution_id, workflow, fingerprint FROM ready_tasks
WHERE tenant_id = ?1 AND priority >= 0 AND due_at <= ?2
  AND (workflow, fingerprint) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
UNION
-- Waits and children that nobody looks at: whoever has the code would, of executions that somebody paused
-- too.
SELECT execution.id, execution.workflow, execution.fingerprint
FROM due_rows AS due
JOIN workflow_executions AS execution ON execution.tenant_id = ?1 AND execution.id = due.subject
WHERE due.tenant_id = ?1 AND due.kind IN (1, 3) AND due.due_at <= ?2 AND execution.finished_at IS NULL
  AND (execution.workflow, execution.fingerprint) NOT IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))
LIMIT ?4
