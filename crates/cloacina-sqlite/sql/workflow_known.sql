SELECT EXISTS (SELECT 1 FROM cloacina_workflow WHERE name = ?1 AND fingerprint = ?2)
