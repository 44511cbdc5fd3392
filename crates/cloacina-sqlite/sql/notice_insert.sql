INSERT OR IGNORE INTO cloacina_notice (tenant_id, noticed_at, execution_id) VALUES (?1, ?2, ?3)
