INSERT INTO task_executions (
    tenant_id, execution_id, task, name, state, waiting_on, attempt, runner_id, due_at, started_at
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
