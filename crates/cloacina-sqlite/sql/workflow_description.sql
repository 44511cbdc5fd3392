-- Whoever wrote the file may have written more than is read.
SELECT CASE WHEN length(CAST(description AS BLOB)) <= ?3 THEN description END FROM cloacina_workflow WHERE name = ?1 AND fingerprint = ?2
