-- What there is in a place, in numbers, without the executions of a workflow. It stops counting what is over
-- at a million.
SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 LIMIT 1000000)),
       (SELECT count(*) FROM workflow_executions INDEXED BY workflow_executions_listed
        WHERE tenant_id = ?1 AND workflow = ?3
          AND state IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')),
       (SELECT count(*) FROM workflow_executions INDEXED BY workflow_executions_listed
        WHERE tenant_id = ?1 AND state IN ('pending', 'running', 'paused') AND workflow <> ?3),
       (SELECT count(*) FROM workflow_executions INDEXED BY workflow_executions_listed
        WHERE tenant_id = ?1 AND state = 'waiting' AND workflow <> ?3),
       count(*), min(due_at),
       (SELECT count(*) FROM due_rows WHERE tenant_id = ?1 AND kind = 1 AND due_at <= ?2),
       (SELECT count(*) FROM due_rows WHERE tenant_id = ?1 AND kind = 0 AND due_at <= ?2)
FROM ready_tasks WHERE tenant_id = ?1 AND priority >= 0 AND due_at <= ?2
