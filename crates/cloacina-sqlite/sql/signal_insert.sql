INSERT INTO signals (tenant_id, execution_id, name, number, key, payload, received_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
