DELETE FROM signals WHERE tenant_id = ?1 AND execution_id = ?2
