-- What state an execution is in now.
SELECT state FROM workflow_executions WHERE tenant_id = $1::uuid AND id = $2::uuid
