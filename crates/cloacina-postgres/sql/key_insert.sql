-- Keeps a key. `tenant` and `parent` say whether there are such; `created_at` is that of the row if it is
-- this key, now or before, and NULL if another one has its id.
WITH tenant AS MATERIALIZED (
    SELECT tenant_id FROM cloacina.tenant
    WHERE name = $4::text AND state NOT IN ('removing', 'removed') AND placement <> 'host'
    -- Whoever removes it waits, and then deletes this row as well.
    FOR SHARE
),
parent AS MATERIALIZED (
    SELECT id FROM cloacina.api_key
    WHERE id = $3::text AND parent IS NULL AND coalesce(expires_at > coalesce($10::timestamptz, now()), true)
      AND (tenant_id IS NULL OR tenant_id = (SELECT tenant_id FROM tenant))
),
found AS MATERIALIZED (
    SELECT $4 IS NULL OR EXISTS (SELECT FROM tenant) AS tenant, $3 IS NULL OR EXISTS (SELECT FROM parent) AS parent
),
inserted AS (
    INSERT INTO cloacina.api_key (id, hash, parent, tenant_id, role, payloads, name, created_by, expires_at, created_at)
    SELECT $1::text, $2::bytea, $3, (SELECT tenant_id FROM tenant), $5::text, $6::boolean, $7::text, $8::text, $9::timestamptz, coalesce($10, now())
    FROM found WHERE tenant AND parent
    ON CONFLICT DO NOTHING
    RETURNING created_at
)
SELECT tenant, parent, EXISTS (SELECT FROM inserted) AS is_new, (SELECT tenant_id FROM tenant) AS tenant_id,
       coalesce((SELECT created_at FROM inserted), (SELECT created_at FROM cloacina.api_key WHERE id = $1 AND hash = $2)) AS created_at
FROM found
