-- Or ignore: a row that is there already says the same.
INSERT OR IGNORE INTO due_rows (tenant_id, kind, due_at, subject, cause) VALUES (?1, ?2, ?3, ?4, ?5)
