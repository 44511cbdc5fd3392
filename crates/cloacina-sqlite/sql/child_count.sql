-- How many children a task has started, for which nobody waits: -1 at a time.
INSERT INTO task_children (tenant_id, execution_id, task, total, parallel, tolerated, started, abandons)
VALUES (?1, ?2, ?3, 1, -1, 0, 1, 0)
ON CONFLICT (tenant_id, execution_id, task) DO UPDATE SET total = total + 1, started = started + 1
RETURNING started
