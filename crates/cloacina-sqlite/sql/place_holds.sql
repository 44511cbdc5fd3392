-- Whether there are executions in a state, and waits, and of these such that ask.
SELECT EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'pending'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'running'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'waiting'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'paused'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'completed'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'failed'),
       EXISTS (SELECT 1 FROM workflow_executions WHERE tenant_id = ?1 AND state = 'cancelled'),
       EXISTS (SELECT 1 FROM task_waits WHERE tenant_id = ?1),
       EXISTS (SELECT 1 FROM task_waits INDEXED BY task_waits_asking WHERE tenant_id = ?1 AND ask IS NOT NULL)
