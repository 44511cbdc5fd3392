SELECT due_at, subject, cause FROM due_rows
WHERE tenant_id = ?1 AND kind = 2 AND due_at <= ?2
ORDER BY due_at, subject, cause LIMIT ?3
