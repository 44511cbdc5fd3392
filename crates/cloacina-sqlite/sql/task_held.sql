-- By way of the executions that run, or were paused while a task of theirs ran: what runs now is not indexed
-- by its runner, which would cost every claim a page.
SELECT t.execution_id, t.task, e.workflow, e.fingerprint, e.priority, t.attempt, t.failures, t.lost, e.state
FROM workflow_executions AS e INDEXED BY workflow_executions_listed
CROSS JOIN task_executions AS t ON t.tenant_id = e.tenant_id AND t.execution_id = e.id
WHERE e.tenant_id = ?1 AND e.state IN ('running', 'paused') AND t.state = 'running' AND t.runner_id = ?2
