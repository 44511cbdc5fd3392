-- Registers a tenant whose rows lie in the tables that are shared. One that was removed under this name is
-- followed by the next epoch. No row: the name is taken.
WITH place AS (
    INSERT INTO cloacina.tenant (tenant_id, name, schema_name, epoch, schema_version, min_reader, placement)
    SELECT $1::uuid, $2::text, 'cloacina_shared', coalesce(max(epoch), 0) + 1, 0, 0, 'shared'
    FROM cloacina.tenant WHERE lower(name) = lower($2)
    ON CONFLICT DO NOTHING
    RETURNING tenant_id
)
INSERT INTO cloacina.doorbell (tenant_id) SELECT tenant_id FROM place
RETURNING tenant_id
