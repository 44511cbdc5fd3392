-- Who may do what in the schema `cloacina`, once it belongs to `cloacina_owner`; for a transaction that acts
-- as that. May be repeated.
GRANT USAGE ON SCHEMA cloacina TO cloacina_engine, cloacina_tenant, cloacina_app, cloacina_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON cloacina.doorbell, cloacina.notice, cloacina.retention, cloacina.runner, cloacina.runner_place TO cloacina_engine;
GRANT SELECT, INSERT ON cloacina.tenant, cloacina.migration TO cloacina_engine;
-- What the migration of a place notes, for places that an operator's login made for itself.
GRANT UPDATE (schema_version, min_reader) ON cloacina.tenant TO cloacina_engine;
GRANT SELECT ON cloacina.login TO cloacina_engine;
GRANT SELECT, INSERT ON cloacina.workflow TO cloacina_engine;
-- Who notes what is done by name, and seals it.
GRANT SELECT, INSERT ON cloacina.audit TO cloacina_engine;
GRANT UPDATE (position, seal) ON cloacina.audit TO cloacina_engine;
GRANT SELECT, INSERT, UPDATE ON cloacina.audit_chain TO cloacina_engine;
-- Who serves people and programs that show a key.
GRANT SELECT, INSERT, DELETE ON cloacina.api_key TO cloacina_engine;
GRANT UPDATE (last_used_at) ON cloacina.api_key TO cloacina_engine;
-- Who says which schedules all tenants have.
GRANT SELECT, INSERT, UPDATE, DELETE ON cloacina.schedule_template TO cloacina_engine;
-- Who signs the tokens of tenants that share tables.
GRANT SELECT ON cloacina.data_key TO cloacina_engine;
GRANT EXECUTE ON FUNCTION
    cloacina.enter(uuid, integer, integer, bigint, bytea), cloacina.entered(), cloacina.entered_fence(uuid), cloacina.entered_ring(timestamptz)
    TO cloacina_app;
-- Who grants the reading across tenants, and who reads.
GRANT EXECUTE ON FUNCTION cloacina.grant_reading(text, text[], text, integer) TO cloacina_engine;
GRANT EXECUTE ON FUNCTION cloacina.reading() TO cloacina_reader;
GRANT EXECUTE ON FUNCTION
    cloacina.me(), cloacina.my_bells(timestamptz), cloacina.ring(timestamptz), cloacina.my_bell_lock(), cloacina.my_bell_lower(timestamptz),
    cloacina.my_notice(uuid[]), cloacina.my_fence(uuid),
    cloacina.my_runner_register(uuid, bigint, text, integer, bigint, text[], bigint[], timestamptz, text),
    cloacina.my_runner_heartbeat(uuid, text[], bigint[], timestamptz), cloacina.my_runners(), cloacina.my_runner_state(uuid, timestamptz),
    cloacina.my_runner_condemn(uuid, bigint, timestamptz), cloacina.my_runner_place_delete(uuid), cloacina.my_runner_remove(uuid),
    cloacina.my_workflow_describe(text[], bigint[], text[], text[], timestamptz), cloacina.my_workflows(bigint), cloacina.my_workflow_description(text, bigint),
    cloacina.my_audit(text, text, text, text, text, text, timestamptz), cloacina.my_audit_list(bigint, bigint)
    TO cloacina_tenant;
