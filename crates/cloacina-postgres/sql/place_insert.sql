-- The row stands for the place and is its lock: a second process that makes the same one waits here and finds
-- it made.
WITH place AS (
    INSERT INTO cloacina.tenant (tenant_id, name, schema_name, schema_version, min_reader, placement)
    VALUES ($1::uuid, $3::text, $2::text, 0, 0, CASE $2 WHEN 'cloacina_shared' THEN 'host' ELSE 'schema' END)
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, epoch
),
bell AS (
    INSERT INTO cloacina.doorbell (tenant_id) SELECT tenant_id FROM place
)
SELECT to_regnamespace(quote_ident($2::text)) IS NOT NULL AS there,
       (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'cloacina') = 'cloacina_owner' AS managed, epoch
FROM place
