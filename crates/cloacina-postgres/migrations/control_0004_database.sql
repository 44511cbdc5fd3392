-- Tenants with a database of their own on the same server. A row here says where: the database is called as the schema in it. All else is in
-- that database, whose own registry has the tenant under the same id. The row comes first and says `creating` until everything is there.

ALTER TABLE tenant
    DROP CONSTRAINT tenant_placement_check,
    DROP CONSTRAINT tenant_tables_check,
    DROP CONSTRAINT tenant_state_check;

ALTER TABLE tenant
    ADD CONSTRAINT tenant_placement_check CHECK (placement IN ('schema', 'shared', 'host', 'database')),
    ADD CONSTRAINT tenant_tables_check CHECK ((placement IN ('shared', 'host')) = (schema_name = 'cloacina_shared')),
    ADD CONSTRAINT tenant_state_check CHECK (
        state IN ('active', 'suspended', 'moving', 'removing', 'removed') OR state = 'creating' AND placement = 'database'
    );

CREATE INDEX tenant_database ON tenant (tenant_id) WHERE placement = 'database';
