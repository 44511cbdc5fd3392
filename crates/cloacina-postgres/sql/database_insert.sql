-- A tenant that is to have a database of its own. One that was removed under this name is followed by the
-- next epoch. No row: the name is taken.
INSERT INTO cloacina.tenant (tenant_id, name, schema_name, epoch, schema_version, min_reader, placement, state)
SELECT $1::uuid, $2::text, $3::text, coalesce(max(epoch), 0) + 1, 0, 0, 'database', 'creating'
FROM cloacina.tenant WHERE lower(name) = lower($2)
ON CONFLICT DO NOTHING
RETURNING tenant_id
