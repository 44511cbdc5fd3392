DELETE FROM execution_tags WHERE tenant_id = ?1 AND tag = ?2 AND execution_id = ?3
