UPDATE signals SET taken_by = ?5 WHERE tenant_id = ?1 AND execution_id = ?2 AND name = ?3 AND number = ?4
