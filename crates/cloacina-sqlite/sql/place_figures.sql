-- What there is in a place, in numbers. It stops counting what is over at a million.
SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 LIMIT 1000000)),
       (SELECT count(*) FROM workflow_executions INDEXED BY workflow_executions_listed
        WHERE tenant_id = ?1 AND state IN ('pending', 'running', 'paused')),
       (SELECT count(*) FROM workflow_executions INDEXED BY workflow_executions_listed
        WHERE tenant_id = ?1 AND state = 'waiting'),
       count(*), min(due_at),
       (SELECT count(*) FROM due_rows WHERE tenant_id = ?1 AND kind = 1 AND due_at <= ?2),
       (SELECT count(*) FROM due_rows WHERE tenant_id = ?1 AND kind = 0 AND due_at <= ?2)
FROM ready_tasks WHERE tenant_id = ?1 AND priority >= 0 AND due_at <= ?2
