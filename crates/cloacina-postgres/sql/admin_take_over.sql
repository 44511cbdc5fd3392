-- Hands the schema `cloacina` over to `cloacina_owner`, and says who may do what in it. May be repeated.
DO $$
DECLARE
    before text := (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'cloacina');
    object record;
BEGIN
    IF before <> 'cloacina_owner' THEN
        ALTER SCHEMA cloacina OWNER TO cloacina_owner;
        FOR object IN SELECT relname FROM pg_class WHERE relnamespace = 'cloacina'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('ALTER TABLE cloacina.%I OWNER TO cloacina_owner', object.relname);
        END LOOP;
        FOR object IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'cloacina'::regnamespace LOOP
            EXECUTE format('ALTER FUNCTION %s OWNER TO cloacina_owner', object.name);
        END LOOP;
        -- Who ran everything so far is an operator from now on, and what it owns can be used by other operators.
        IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = before) THEN
            EXECUTE format('GRANT cloacina_engine TO %I', before);
        END IF;
        FOR object IN
            SELECT schema_name FROM cloacina.tenant JOIN pg_namespace ON nspname = schema_name
            WHERE state <> 'removed' AND group_oid IS NULL AND pg_has_role(nspowner, 'MEMBER')
        LOOP
            EXECUTE format('GRANT USAGE ON SCHEMA %I TO cloacina_engine', object.schema_name);
            EXECUTE format(
                'GRANT SELECT, INSERT, UPDATE, DELETE ON %1$I.workflow_executions, %1$I.task_executions, %1$I.ready_tasks, '
                '%1$I.task_attempts TO cloacina_engine', object.schema_name);
        END LOOP;
    END IF;
END
$$;

SET LOCAL ROLE cloacina_owner;
GRANT USAGE ON SCHEMA cloacina TO cloacina_engine, cloacina_tenant, cloacina_app, cloacina_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloacina.doorbell, cloacina.notice, cloacina.runner, cloacina.runner_place TO cloacina_engine;
GRANT SELECT, INSERT ON cloacina.tenant, cloacina.migration TO cloacina_engine;
-- What the migration of a place notes, for places that an operator's login made for itself.
GRANT UPDATE (schema_version, min_reader) ON cloacina.tenant TO cloacina_engine;
GRANT SELECT ON cloacina.login TO cloacina_engine;
-- Who signs the tokens of tenants that share tables.
GRANT SELECT ON cloacina.data_key TO cloacina_engine;
GRANT EXECUTE ON FUNCTION
    cloacina.enter(uuid, integer, bigint, bytea), cloacina.entered(), cloacina.entered_fence(uuid), cloacina.entered_ring(timestamptz)
    TO cloacina_app;
-- Who grants the reading across tenants, and who reads.
GRANT EXECUTE ON FUNCTION cloacina.grant_reading(text, text[], text, integer) TO cloacina_engine;
GRANT EXECUTE ON FUNCTION cloacina.reading() TO cloacina_reader;
GRANT EXECUTE ON FUNCTION
    cloacina.me(), cloacina.my_bells(timestamptz), cloacina.ring(timestamptz), cloacina.my_bell_lock(), cloacina.my_bell_lower(timestamptz),
    cloacina.my_notice(uuid[], timestamptz), cloacina.my_fence(uuid),
    cloacina.my_runner_register(uuid, bigint, text, integer, bigint, text[], bigint[], timestamptz),
    cloacina.my_runner_heartbeat(uuid, text[], bigint[], timestamptz), cloacina.my_runners(), cloacina.my_runner_state(uuid, timestamptz),
    cloacina.my_runner_condemn(uuid, bigint, timestamptz), cloacina.my_runner_place_delete(uuid), cloacina.my_runner_remove(uuid)
    TO cloacina_tenant;
SET LOCAL ROLE NONE
