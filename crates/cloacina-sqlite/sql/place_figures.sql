-- What there is in a place, in numbers, without the executions of a workflow. It counts no further than ?4.
SELECT (SELECT count(*) FROM (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 LIMIT ?4)),
       (SELECT count(*) FROM (
           SELECT 1 FROM workflow_executions INDEXED BY workflow_executions_listed
           WHERE tenant_id = ?1 AND workflow = ?3
             AND state IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')
           LIMIT ?4)),
       (SELECT count(*) FROM (
           SELECT 1 FROM workflow_executions INDEXED BY workflow_executions_listed
           WHERE tenant_id = ?1 AND state IN ('pending', 'running', 'paused') AND workflow <> ?3 LIMIT ?4)),
       (SELECT count(*) FROM (
           SELECT 1 FROM workflow_executions INDEXED BY workflow_executions_listed
           WHERE tenant_id = ?1 AND state = 'waiting' AND workflow <> ?3 LIMIT ?4)),
       (SELECT count(*) FROM (
           SELECT 1 FROM ready_tasks WHERE tenant_id = ?1 AND priority >= 0 AND due_at <= ?2 LIMIT ?4)),
       (SELECT min(due_at) FROM (
           SELECT (SELECT due_at FROM ready_tasks
                   WHERE tenant_id = ?1 AND priority = level.value
                   ORDER BY due_at LIMIT 1) AS due_at
           FROM json_each('[0,1,2,3,4,5,6,7,8,9]') AS level) WHERE due_at <= ?2),
       (SELECT count(*) FROM (
           SELECT 1 FROM due_rows WHERE tenant_id = ?1 AND kind = 1 AND due_at <= ?2 LIMIT ?4)),
       (SELECT count(*) FROM (
           SELECT 1 FROM due_rows WHERE tenant_id = ?1 AND kind = 0 AND due_at <= ?2 LIMIT ?4))
