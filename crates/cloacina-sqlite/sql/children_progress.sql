-- How far the nodes of an execution are that wait, or waited, for children, or started some, with their
-- names.
SELECT counted.task, total, parallel, tolerated, started, completed, failed, node.name
FROM task_children AS counted
JOIN task_executions AS node ON node.tenant_id = ?1 AND node.execution_id = ?2 AND node.task = counted.task
WHERE counted.tenant_id = ?1 AND counted.execution_id = ?2
ORDER BY counted.task
