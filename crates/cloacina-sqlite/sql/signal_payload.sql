SELECT payload FROM signals WHERE tenant_id = ?1 AND execution_id = ?2 AND name = ?3 AND number = ?4
