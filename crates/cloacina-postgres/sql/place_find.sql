-- The latest of its name: the row of one that was removed counts only if there is no other.
SELECT tenant_id, schema_name, state, schema_version, min_reader
FROM cloacina.tenant WHERE lower(schema_name) = lower($1::text)
ORDER BY epoch DESC LIMIT 1
