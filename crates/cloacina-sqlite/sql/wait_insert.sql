-- Or ignore: only a file that somebody else wrote to has the row already.
INSERT OR IGNORE INTO task_waits (tenant_id, execution_id, task, signal, until, ask) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
