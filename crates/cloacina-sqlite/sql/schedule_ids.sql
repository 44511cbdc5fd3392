-- Which schedules there are, by their names.
SELECT id, name, origin FROM schedules INDEXED BY schedules_name WHERE tenant_id = ?1 AND name >= '' ORDER BY name LIMIT ?2
