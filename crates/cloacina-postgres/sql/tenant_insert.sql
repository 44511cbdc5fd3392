-- Registers a tenant; the row is the lock on its name. One that was removed under this name is followed by
-- the next epoch. No row: the name is taken. Also tells what there is already of what is to be made.
WITH place AS (
    INSERT INTO cloacina.tenant (tenant_id, name, schema_name, epoch, schema_version, min_reader)
    SELECT $1::uuid, $4::text, $2::text, coalesce(max(epoch), 0) + 1, 0, 0
    FROM cloacina.tenant WHERE lower(schema_name) = lower($2) OR lower(name) = lower($4)
    ON CONFLICT DO NOTHING
    RETURNING tenant_id
),
bell AS (
    INSERT INTO cloacina.doorbell (tenant_id) SELECT tenant_id FROM place
)
SELECT to_regnamespace(quote_ident($2)) IS NOT NULL AS schema_there,
       (SELECT min(rolname::text) FROM pg_roles WHERE lower(rolname::text) = ANY ($3::text[])) AS role_there
FROM place
