-- Takes due rows away that ask for a look at the children of an execution, of a span of time.
DELETE FROM due_rows WHERE tenant_id = ?1 AND kind = 3 AND subject = ?2 AND due_at BETWEEN ?3 AND ?4 RETURNING cause
