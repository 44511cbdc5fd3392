-- How far the nodes of an execution are that wait for children.
SELECT counted.task, total, parallel, tolerated, started, completed, failed
FROM task_children AS counted
JOIN task_executions AS node ON node.tenant_id = ?1 AND node.execution_id = ?2 AND node.task = counted.task AND node.state = 'waiting'
WHERE counted.tenant_id = ?1 AND counted.execution_id = ?2
ORDER BY counted.task
