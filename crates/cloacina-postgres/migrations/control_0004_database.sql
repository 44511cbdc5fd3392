-- Tenants with a database of their own on the same server. A row here says where: the database is called as
-- the schema in it. All else is in that database, whose own registry has the tenant under the same id. The
-- row comes first and says `creating` until everything is there.

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

-- At the beginning of each transaction on a tenant's data: the tenant is here, has not moved since its place
-- was looked up, and may work.
CREATE FUNCTION at_home(whose uuid, its_epoch integer, in_schema text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found_tenant cloacina.tenant;
BEGIN
    SELECT * INTO found_tenant FROM cloacina.tenant WHERE tenant_id = whose;
    IF NOT (found_tenant.epoch = its_epoch AND found_tenant.schema_name = in_schema AND found_tenant.state <> 'removed') IS TRUE THEN
        RAISE EXCEPTION 'the tenant is not here any more: open it again' USING ERRCODE = 'TN001';
    END IF;
    IF found_tenant.state <> 'active' THEN
        RAISE EXCEPTION 'the tenant is %', found_tenant.state USING ERRCODE = 'TN001';
    END IF;
END
$$;
