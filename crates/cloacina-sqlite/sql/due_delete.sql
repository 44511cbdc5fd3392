DELETE FROM due_rows WHERE tenant_id = ?1 AND kind = ?2 AND due_at = ?3 AND subject = ?4 AND cause = ?5
