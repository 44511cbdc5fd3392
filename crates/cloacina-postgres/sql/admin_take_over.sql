-- Hands the schema `cloacina` over to `cloacina_owner`. May be repeated.
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
        FOR object IN SELECT typname FROM pg_type WHERE typnamespace = 'cloacina'::regnamespace AND typtype = 'd' LOOP
            EXECUTE format('ALTER DOMAIN cloacina.%I OWNER TO cloacina_owner', object.typname);
        END LOOP;
        FOR object IN SELECT oid::regprocedure AS name FROM pg_proc WHERE pronamespace = 'cloacina'::regnamespace LOOP
            EXECUTE format('ALTER FUNCTION %s OWNER TO cloacina_owner', object.name);
        END LOOP;
        -- Who ran everything so far is an operator from now on, and what it owns can be used by other
        -- operators.
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
                '%1$I.due_rows, %1$I.task_waits, %1$I.task_children, %1$I.signals, %1$I.execution_tags, %1$I.task_pages, %1$I.schedules, %1$I.schedule_fires, %1$I.task_attempts TO cloacina_engine', object.schema_name);
            EXECUTE format('GRANT SELECT ON %1$I.v_executions, %1$I.v_tasks TO cloacina_engine', object.schema_name);
        END LOOP;
    END IF;
END
$$;
