-- Or ignore: only a file that somebody else wrote to has the row already.
INSERT OR IGNORE INTO task_children (tenant_id, execution_id, task, total, parallel, tolerated, abandons) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
