-- Or ignore: a row that is there already says the same.
INSERT OR IGNORE INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
