-- How far the nodes of an execution are that wait, or waited, for children, or started some, with their
-- names.
SELECT counted.task, total, parallel, tolerated, started, completed, failed, left(node.name, 1000) AS name
FROM task_children AS counted
JOIN task_executions AS node ON node.tenant_id = $1::uuid AND node.execution_id = $2::uuid AND node.task = counted.task
WHERE counted.tenant_id = $1 AND counted.execution_id = $2
ORDER BY counted.task
LIMIT 10000
