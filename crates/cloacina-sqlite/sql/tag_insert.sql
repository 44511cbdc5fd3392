INSERT INTO execution_tags (tenant_id, tag, execution_id) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING
