-- The write lock of the file is held already; this reads whether an execution may be rerun.
SELECT state, superseded_by FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
