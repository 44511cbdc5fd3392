-- Tenants that an operator provisions, with logins of their own.
--
--   login    which database login is which tenant: by the OID of the role, which no name can imitate
--   audit    what an administrator did, and what anybody did by name; audit_chain, by which it is seen
--   whether
--     rows were changed
--   quota    how much each tenant's logins have written here lately
--   workflow what workflows look like that some process had, for processes that have not
--   schedule_template  the schedules that all tenants have
--   api_key  what lets programs and people in that use a service built on this; no tenant's login can see it
--
-- A tenant's login has no right on any table here. What it may do is a list of functions that run with the
-- rights of this schema's owner and act for the tenant of `session_user`, whatever they are told: with the
-- right to change a table, a tenant could lock it for everybody (LOCK TABLE); a function can lock that
-- tenant's rows at most.
--
-- What a tenant's login writes here is read by everybody. So it is counted, by the server's clock, and what
-- goes beyond is refused or left out: rows, and also changes of one row, because a tenant that holds a
-- snapshot open keeps all versions of it in everybody's way.

ALTER TABLE tenant DROP CONSTRAINT tenant_state_check;
ALTER TABLE tenant
    ADD CONSTRAINT tenant_state_check CHECK (state IN ('active', 'suspended', 'moving', 'removing', 'removed')),
    -- The NOLOGIN role that holds the grants of the tenant's logins.
    ADD COLUMN group_oid              oid,
    ADD COLUMN group_name             text,
    -- NULL: no limit of the tenant's own.
    ADD COLUMN max_concurrent_tasks   integer CHECK (max_concurrent_tasks > 0),
    ADD COLUMN max_queue_length       integer CHECK (max_queue_length > 0),
    ADD COLUMN max_waiting            integer CHECK (max_waiting > 0),
    ADD COLUMN max_context_bytes      integer CHECK (max_context_bytes > 0),
    ADD COLUMN max_connections        integer CHECK (max_connections > 0),
    ADD COLUMN statement_timeout_ms   bigint  CHECK (statement_timeout_ms > 0),
    ADD COLUMN transaction_timeout_ms bigint  CHECK (transaction_timeout_ms > 0),
    -- What the last sweep found.
    ADD COLUMN size_bytes             bigint,
    -- Rows written so far, as the statistics count them.
    ADD COLUMN activity               numeric,
    ADD COLUMN last_activity_at       timestamptz,
    ADD COLUMN measured_at            timestamptz,
    ADD COLUMN removed_at             timestamptz,
    ADD CHECK (num_nulls(group_oid, group_name) IN (0, 2)),
    ADD CHECK ((state = 'removed') = (removed_at IS NOT NULL));

-- A removed tenant leaves its row, so that a new one of its name begins with the next epoch.
DROP INDEX tenant_schema;
CREATE UNIQUE INDEX tenant_schema ON tenant (lower(schema_name)) WHERE state <> 'removed';
-- What the operator calls a tenant, where that is not its schema's name.
CREATE UNIQUE INDEX tenant_name ON tenant (lower(name)) WHERE state <> 'removed';
CREATE INDEX tenant_removed ON tenant (lower(schema_name), epoch) WHERE state = 'removed';

CREATE TABLE login (
    role_oid   oid         NOT NULL PRIMARY KEY,
    tenant_id  uuid        NOT NULL,
    role_name  text        NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- When a rotation ends it; NULL for the current one.
    ends_at    timestamptz
);

CREATE INDEX login_tenant ON login (tenant_id);
CREATE UNIQUE INDEX login_name ON login (lower(role_name));

CREATE TABLE audit (
    id          bigint      NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(at)),
    -- Who it was, as the program says that acted for them, or else the login.
    actor       text        NOT NULL DEFAULT session_user CHECK (length(actor) <= 200),
    role        text        CHECK (length(role) <= 64),
    action      text        NOT NULL CHECK (length(action) <= 100),
    tenant_id   uuid,
    schema_name text,
    object      text        CHECK (length(object) <= 300),
    reason      text        CHECK (length(reason) <= 1000),
    detail      text        CHECK (length(detail) <= 4000),
    login       text        NOT NULL DEFAULT session_user,
    -- Where it is in the chain of the tenant, and the hash over it and the row before; both once it is
    -- sealed, in a later pass over what is committed, so that nobody waits for the chain.
    position    bigint      CHECK (position > 0),
    seal        bytea       CHECK (length(seal) = 32),
    CHECK ((position IS NULL) = (seal IS NULL))
);

CREATE INDEX audit_unsealed ON audit (id) WHERE position IS NULL;
-- Rows about no tenant are a chain as well.
CREATE INDEX audit_position ON audit ((coalesce(tenant_id, '00000000-0000-0000-0000-000000000000')), position);

-- The end of each chain. Who seals has locked this table.
CREATE TABLE audit_chain (
    tenant_id uuid   NOT NULL PRIMARY KEY,
    position  bigint NOT NULL,
    seal      bytea  NOT NULL CHECK (length(seal) = 32)
);

CREATE INDEX audit_tenant ON audit (tenant_id, id);

CREATE TABLE workflow (
    -- Whose login told it; the nil UUID is the operator's, which may run for any tenant.
    tenant_id   uuid        NOT NULL,
    name        text        NOT NULL CHECK (octet_length(name) <= 300),
    fingerprint bigint      NOT NULL,
    version     text        CHECK (octet_length(version) <= 200),
    first_seen  timestamptz NOT NULL CHECK (isfinite(first_seen)),
    -- JSON. Absent if it is too large.
    description text        CHECK (octet_length(description) <= 1048576),
    PRIMARY KEY (tenant_id, name, fingerprint)
);

-- The hashes of their secrets, never a secret. A session goes with its key, and a tenant takes its keys with
-- it: another one of its name has another id.
CREATE TABLE api_key (
    id           text        NOT NULL PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9]{12}$'),
    hash         bytea       NOT NULL CHECK (length(hash) = 32),
    -- The key that it is a session of.
    parent       text,
    -- NULL: the operator's.
    tenant_id    uuid,
    role         text        NOT NULL CHECK (length(role) <= 64),
    payloads     boolean     NOT NULL,
    name         text        NOT NULL CHECK (length(name) <= 100),
    created_at   timestamptz NOT NULL CHECK (isfinite(created_at)),
    created_by   text        NOT NULL CHECK (length(created_by) <= 200),
    expires_at   timestamptz CHECK (isfinite(expires_at)),
    -- To the minute.
    last_used_at timestamptz CHECK (isfinite(last_used_at))
);

CREATE INDEX api_key_parent ON api_key (parent) WHERE parent IS NOT NULL;
CREATE INDEX api_key_tenant ON api_key (tenant_id, id) WHERE tenant_id IS NOT NULL;

-- The schedules that all tenants have, by their origin; no tenant's login can see them.
CREATE TABLE schedule_template (
    origin     text        NOT NULL PRIMARY KEY CHECK (octet_length(origin) BETWEEN 1 AND 200),
    schedules  json        NOT NULL,
    changed_at timestamptz NOT NULL CHECK (isfinite(changed_at)),
    version    bigint      NOT NULL DEFAULT 1,
    -- The last tenant that has them, of those in the order of their names; NULL when all have.
    rolled_out text,
    -- Until when the process that gives them to the tenants is left alone.
    taken_till timestamptz NOT NULL DEFAULT '-infinity'
);

-- How often a tenant's login has changed its bell in the second that began then.
ALTER TABLE doorbell
    ADD COLUMN changes       integer     NOT NULL DEFAULT 0,
    ADD COLUMN changes_since timestamptz NOT NULL DEFAULT '-infinity';

-- NULL: the operator's. The last two as above.
ALTER TABLE runner
    ADD COLUMN tenant_id     uuid,
    ADD COLUMN changes       integer     NOT NULL DEFAULT 0,
    ADD COLUMN changes_since timestamptz NOT NULL DEFAULT '-infinity',
    ADD CHECK (tenant_id IS NULL OR lease_ms <= 86400000 AND (host IS NULL OR length(host) <= 255));
CREATE INDEX runner_tenant ON runner (tenant_id) WHERE tenant_id IS NOT NULL;

-- What a tenant's logins have used of what they may use, of each kind, in the time that began at `since`.
CREATE TABLE quota (
    tenant_id uuid        NOT NULL,
    kind      text        NOT NULL,
    used      integer     NOT NULL DEFAULT 0,
    since     timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (tenant_id, kind)
) WITH (fillfactor = 50);

-- A notice without an execution, that is with the nil one, says that the tenant's own row was changed.

-- Declares a runner dead if its heartbeat stands at `beat` (NULL: wherever it stands), and says what its
-- state is. Waits for the runner's flushes under way, which hold its row FOR KEY SHARE; of a tenant's own
-- runner it waits for nothing, because a tenant may hold that lock for ever. Each statement has a snapshot of
-- its own: the heartbeat may have gone on while the first one waited.
CREATE FUNCTION condemn(runner_id uuid, at_beat bigint) RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM cloacina.runner WHERE id = runner_id AND tenant_id IS NOT NULL) THEN
        PERFORM 1 FROM cloacina.runner WHERE id = runner_id FOR UPDATE SKIP LOCKED;
    ELSE
        PERFORM 1 FROM cloacina.runner WHERE id = runner_id FOR UPDATE;
    END IF;
    IF FOUND THEN
        UPDATE cloacina.runner SET state = 'dead'
        WHERE id = runner_id AND state = 'live' AND (at_beat IS NULL OR beat = at_beat);
    END IF;
    RETURN (SELECT state FROM cloacina.runner WHERE id = runner_id);
END
$$;

-- Whose login this is. The user of the session, not the current one: SET ROLE does not change it. The name
-- has to be the one that was given as well, because a dump that is restored on another server brings OIDs
-- that mean other roles there.
CREATE FUNCTION my_tenant() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT login.tenant_id
    FROM pg_catalog.pg_roles AS role
    JOIN cloacina.login ON login.role_oid = role.oid
    WHERE role.rolname = session_user AND login.role_name = session_user
$$;

-- The tenant of a login that has one, for the functions below.
CREATE FUNCTION my_tenant_or_raise() RETURNS uuid LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant();
BEGIN
    IF tenant IS NULL THEN
        RAISE EXCEPTION 'the login % belongs to no tenant', session_user USING ERRCODE = '42501';
    END IF;
    RETURN tenant;
END
$$;

-- The place of the login's tenant and what the operator decided about it; no row for a login without a
-- tenant.
CREATE FUNCTION me() RETURNS TABLE (
    tenant_id uuid, schema_name text, state text, epoch integer, schema_version integer, min_reader integer, control_version integer,
    max_concurrent_tasks integer, max_queue_length integer, max_waiting integer, max_context_bytes integer
) LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT tenant.tenant_id, tenant.schema_name, tenant.state, tenant.epoch, tenant.schema_version, tenant.min_reader,
           (SELECT max(number) FROM cloacina.migration WHERE scope = 'control'),
           tenant.max_concurrent_tasks, tenant.max_queue_length, tenant.max_waiting, tenant.max_context_bytes
    FROM cloacina.tenant WHERE tenant.tenant_id = cloacina.my_tenant()
$$;

-- The tenant's own bell: a row without an execution if it is due, and its notices of the last seconds.
CREATE FUNCTION my_bells(at timestamptz) RETURNS TABLE (tenant_id uuid, execution_id uuid)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY
        SELECT doorbell.tenant_id, NULL::uuid FROM cloacina.doorbell
        WHERE doorbell.tenant_id = tenant AND doorbell.due_at <= coalesce(at, now())
        UNION ALL
        SELECT notice.tenant_id, notice.execution_id FROM cloacina.notice
        WHERE notice.tenant_id = tenant AND notice.created_at > coalesce(at, now()) - interval '10 seconds';
END
$$;

-- Whether a time is one of the last moments, by the server's clock. One that lies ahead is none: the clock
-- was set back.
CREATE FUNCTION is_recent(at timestamptz, within interval) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT at BETWEEN clock_timestamp() - within AND clock_timestamp()
$$;

-- Takes as much of a tenant's quota as is wanted, or as is left of it, and says how much that is. The row
-- stays locked until the commit, so the limit is exact: who comes at the same time waits, and who looks at an
-- older state than this one, in a transaction that began before, fails. Nobody but the tenant's own logins
-- takes this lock. Who wants more than there is waits a moment with it, so that asking again and again, in
-- however many sessions, costs the server next to nothing.
CREATE FUNCTION my_quota(tenant uuid, of_kind text, wanted integer, most integer, within interval) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    mine  cloacina.quota;
    taken integer;
BEGIN
    INSERT INTO cloacina.quota (tenant_id, kind) VALUES (tenant, of_kind) ON CONFLICT DO NOTHING;
    SELECT * INTO STRICT mine FROM cloacina.quota WHERE tenant_id = tenant AND kind = of_kind FOR UPDATE;
    IF NOT cloacina.is_recent(mine.since, within) THEN
        mine.since := clock_timestamp();
        mine.used := 0;
    END IF;
    taken := greatest(0, least(wanted, most - mine.used));
    UPDATE cloacina.quota SET used = mine.used + taken, since = mine.since WHERE tenant_id = tenant AND kind = of_kind;
    IF taken < wanted THEN
        PERFORM pg_sleep(0.025);
    END IF;
    RETURN taken;
END
$$;

-- Rings the tenant's own bell: see `bell_ring`. False if there is no such bell. A bell that changes all the
-- time stays rung, which costs a look a second and loses nothing.
CREATE FUNCTION ring(at timestamptz) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    PERFORM 1 FROM cloacina.doorbell WHERE tenant_id = tenant FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE cloacina.doorbell SET
        due_at = CASE WHEN changes >= 200 AND cloacina.is_recent(changes_since, '1 second') THEN '-infinity' ELSE at END,
        changes = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes + 1 ELSE 1 END,
        changes_since = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes_since ELSE clock_timestamp() END
    WHERE tenant_id = tenant AND at IS NOT NULL AND (due_at IS NULL OR due_at > at);
    RETURN true;
END
$$;

-- Lowering the tenant's own bell, first and last statement.
CREATE FUNCTION my_bell_lock() RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY SELECT tenant_id FROM cloacina.doorbell WHERE tenant_id = tenant FOR UPDATE SKIP LOCKED;
END
$$;

CREATE FUNCTION my_bell_lower(earliest timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    UPDATE cloacina.doorbell SET
        due_at = earliest,
        changes = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes + 1 ELSE 1 END,
        changes_since = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes_since ELSE clock_timestamp() END
    WHERE tenant_id = tenant AND due_at IS DISTINCT FROM earliest
      AND NOT (changes >= 200 AND cloacina.is_recent(changes_since, '1 second'));
END
$$;

-- Tells every process that an execution was cancelled, paused or resumed. No more than a thousand in ten
-- seconds: all read them.
CREATE FUNCTION my_notice(executions uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
    wanted uuid[] := ARRAY(
        SELECT execution FROM unnest(executions) AS execution WHERE execution <> '00000000-0000-0000-0000-000000000000' LIMIT 1000
    );
BEGIN
    INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
    SELECT tenant, execution, clock_timestamp()
    FROM unnest(wanted[:cloacina.my_quota(tenant, 'notice', cardinality(wanted), 1000, '10 seconds')]) AS execution;
END
$$;

-- The first statement of every transaction in which a runner of the tenant writes: see `fence`.
CREATE FUNCTION my_fence(runner_id uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    PERFORM 1 FROM cloacina.runner WHERE id = runner_id AND tenant_id = tenant AND state = 'live' FOR KEY SHARE;
    IF FOUND THEN
        RETURN;
    END IF;
    -- A task of this tenant may run on one of the operator's, and be recorded by the tenant's login with what
    -- it wrote. That row is not locked, or the tenant could keep others from being rescued; runner and
    -- attempt of the task's row are compared all the same.
    PERFORM 1 FROM cloacina.runner WHERE id = runner_id AND tenant_id IS NULL AND state = 'live'
        AND EXISTS (SELECT FROM cloacina.runner_place WHERE runner_place.runner_id = runner.id AND runner_place.tenant_id = tenant);
    IF NOT FOUND THEN
        RAISE EXCEPTION 'runner % is not live', runner_id USING ERRCODE = 'CL001';
    END IF;
END
$$;

-- What a tenant announces is read by everybody who rescues, so it is small.
CREATE FUNCTION my_announcement(workflows text[], fingerprints bigint[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF cardinality(workflows) > 1000 OR pg_column_size(workflows) > 65536 THEN
        RAISE EXCEPTION 'a tenant''s runner can announce 1,000 workflows in 64 kB at most' USING ERRCODE = '54000';
    END IF;
    IF array_ndims(workflows) > 1 OR array_ndims(fingerprints) > 1 OR (cardinality(workflows) = cardinality(fingerprints)) IS NOT TRUE
        OR array_position(workflows, NULL) IS NOT NULL OR array_position(fingerprints, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'a tenant''s runner announces two lists of one length without a NULL: names of workflows, and fingerprints'
            USING ERRCODE = '22023';
    END IF;
END
$$;

-- Notes what somebody does by name in the place of the login's tenant.
CREATE FUNCTION my_audit(
    done text, by_name text, in_role text, to_object text, because text, more text, at_time timestamptz
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    IF cloacina.my_quota(tenant, 'audit', 1, 1000, '10 seconds') = 0 THEN
        RAISE EXCEPTION 'a tenant can do 1,000 things by name in ten seconds at most' USING ERRCODE = '54000';
    END IF;
    INSERT INTO cloacina.audit (tenant_id, schema_name, action, actor, role, object, reason, detail, at)
    SELECT mine.tenant_id, mine.schema_name, done, by_name, in_role, to_object, because, more, coalesce(at_time, clock_timestamp())
    FROM cloacina.tenant AS mine WHERE mine.tenant_id = tenant;
END
$$;

-- What was noted of the tenant.
CREATE FUNCTION my_audit_list(below bigint, most bigint) RETURNS SETOF cloacina.audit
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY SELECT * FROM cloacina.audit WHERE tenant_id = tenant AND id < below ORDER BY id DESC LIMIT most;
END
$$;

-- What a tenant's own processes have is described for that tenant alone: 1,000 in an hour, of which the 256
-- that were seen last are kept. One that is known costs nothing.
CREATE FUNCTION my_workflow_describe(names text[], versions bigint[], called text[], descriptions text[], at timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
    wanted integer;
BEGIN
    PERFORM cloacina.my_announcement(names, versions);
    IF array_ndims(called) > 1 OR array_ndims(descriptions) > 1
        OR (cardinality(called) = cardinality(names) AND cardinality(descriptions) = cardinality(names)) IS NOT TRUE OR isfinite(at) IS FALSE THEN
        RAISE EXCEPTION 'a tenant describes workflows by four lists of one length: names, fingerprints, versions and descriptions'
            USING ERRCODE = '22023';
    END IF;
    SELECT count(*) INTO wanted FROM unnest(names, versions) AS new (name, fingerprint)
    WHERE NOT EXISTS (SELECT FROM cloacina.workflow AS known WHERE known.tenant_id = tenant AND known.name = new.name AND known.fingerprint = new.fingerprint);
    IF wanted = 0 THEN
        RETURN;
    END IF;
    INSERT INTO cloacina.workflow (tenant_id, name, fingerprint, version, description, first_seen)
    SELECT tenant, new.name, new.fingerprint, new.version,
           CASE WHEN octet_length(new.description) <= 131072 THEN new.description END, coalesce(at, now())
    FROM unnest(names, versions, called, descriptions) AS new (name, fingerprint, version, description)
    WHERE NOT EXISTS (SELECT FROM cloacina.workflow AS known WHERE known.tenant_id = tenant AND known.name = new.name AND known.fingerprint = new.fingerprint)
    LIMIT cloacina.my_quota(tenant, 'workflow', wanted, 1000, '1 hour')
    ON CONFLICT DO NOTHING;
    DELETE FROM cloacina.workflow AS old USING (
        SELECT name, fingerprint FROM cloacina.workflow WHERE workflow.tenant_id = tenant
        ORDER BY first_seen DESC, name, fingerprint OFFSET 256
    ) AS surplus
    WHERE old.tenant_id = tenant AND old.name = surplus.name AND old.fingerprint = surplus.fingerprint;
END
$$;

CREATE FUNCTION my_workflows(most bigint) RETURNS TABLE (name text, fingerprint bigint, version text, first_seen timestamptz)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY
        SELECT known.name, known.fingerprint, known.version, known.first_seen FROM cloacina.workflow AS known
        WHERE known.tenant_id = tenant ORDER BY known.name, known.first_seen DESC, known.fingerprint LIMIT most;
END
$$;

-- The description of one workflow: as the tenant's own processes told it, or else the operator's, for whoever
-- knows its fingerprint, as from an execution of it.
CREATE FUNCTION my_workflow_description(named text, print bigint) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY
        SELECT description FROM cloacina.workflow
        WHERE name = named AND fingerprint = print AND tenant_id IN (tenant, '00000000-0000-0000-0000-000000000000')
        ORDER BY tenant_id = tenant DESC LIMIT 1;
END
$$;

-- A tenant has one place, which is noted at once: a rescue finds its claims without anything more being
-- written.
CREATE FUNCTION my_runner_register(
    new_runner uuid, lease bigint, host_id text, process integer, process_started bigint, names text[], versions bigint[], at timestamptz,
    called text DEFAULT NULL
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    PERFORM cloacina.my_announcement(names, versions);
    IF new_runner IS NULL OR (lease BETWEEN 1 AND 86400000) IS NOT TRUE OR length(host_id) > 255 OR length(called) > 255
        OR num_nulls(host_id, process, process_started) NOT IN (0, 3) OR isfinite(at) IS FALSE THEN
        RAISE EXCEPTION 'a tenant''s runner is registered with an id, a lease of a millisecond to a day, a process or none, and a host of at most 255 characters'
            USING ERRCODE = '22023';
    END IF;
    -- Repeated, since the answer was lost.
    IF EXISTS (SELECT FROM cloacina.runner WHERE id = new_runner AND tenant_id = tenant) THEN
        RETURN;
    END IF;
    IF cloacina.my_quota(tenant, 'runner', 1, 256, '10 seconds') = 0 THEN
        RAISE EXCEPTION 'a tenant can register 256 runners in ten seconds at most' USING ERRCODE = '54000';
    END IF;
    -- One after the other, by the lock on the quota: the limit is exact.
    IF (SELECT count(*) FROM cloacina.runner WHERE tenant_id = tenant) >= 64 THEN
        PERFORM pg_sleep(0.025);
        RAISE EXCEPTION 'a tenant can have 64 runners at most' USING ERRCODE = '54000';
    END IF;
    INSERT INTO cloacina.runner (id, tenant_id, lease_ms, host, pid, started, workflows, fingerprints, heartbeat_at, host_name)
    VALUES (new_runner, tenant, lease, host_id, process, process_started, names, versions, coalesce(at, now()), called);
    INSERT INTO cloacina.runner_place (runner_id, tenant_id) VALUES (new_runner, tenant);
END
$$;

-- Beats that come more often than twenty times a second are left out: of 64 runners that makes 1,280 changes.
CREATE FUNCTION my_runner_heartbeat(runner_id uuid, names text[], versions bigint[], at timestamptz) RETURNS SETOF bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    PERFORM cloacina.my_announcement(names, versions);
    UPDATE cloacina.runner SET
        beat = beat + 1, heartbeat_at = coalesce(at, now()),
        -- A value that stays the same is not stored again.
        workflows = CASE WHEN workflows = names THEN workflows ELSE names END,
        fingerprints = CASE WHEN fingerprints = versions THEN fingerprints ELSE versions END,
        changes = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes + 1 ELSE 1 END,
        changes_since = CASE WHEN cloacina.is_recent(changes_since, '1 second') THEN changes_since ELSE clock_timestamp() END
    WHERE id = runner_id AND tenant_id = tenant AND state = 'live' AND NOT (changes >= 20 AND cloacina.is_recent(changes_since, '1 second'));
    RETURN QUERY SELECT beat FROM cloacina.runner WHERE id = runner_id AND tenant_id = tenant AND state = 'live';
END
$$;

-- The tenant's own runners, and the operator's that may hold claims in its place; of these nothing but
-- whether they live.
CREATE FUNCTION my_runners() RETURNS TABLE (
    id uuid, tenant_id uuid, state text, beat bigint, lease_ms bigint, host text, pid integer, started bigint, host_name text,
    workflows text[], fingerprints bigint[]
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY
        SELECT runner.id, runner.tenant_id, runner.state, runner.beat, runner.lease_ms, runner.host, runner.pid, runner.started,
               runner.host_name, runner.workflows, runner.fingerprints
        FROM cloacina.runner WHERE runner.tenant_id = tenant
        UNION ALL
        SELECT runner.id, NULL, runner.state, runner.beat, runner.lease_ms, NULL, NULL, NULL, NULL, '{}', '{}'
        FROM cloacina.runner_place JOIN cloacina.runner ON runner.id = runner_place.runner_id
        WHERE runner_place.tenant_id = tenant AND runner.tenant_id IS NULL
        ORDER BY 1;
END
$$;

-- The state of a runner as far as it concerns the tenant. One of the operator's cannot be declared dead by a
-- tenant; if it has been silent for its lease, its tasks here may be taken back, which harms nobody else: an
-- outcome that comes late finds another attempt.
CREATE FUNCTION my_runner_state(runner_id uuid, at timestamptz) RETURNS SETOF text
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    RETURN QUERY
        SELECT CASE
            WHEN runner.tenant_id IS NULL
             AND runner.heartbeat_at + runner.lease_ms * interval '1 millisecond' < coalesce(at, now()) THEN 'dead'
            ELSE runner.state END
        FROM cloacina.runner
        WHERE runner.id = runner_id AND (runner.tenant_id = tenant OR runner.tenant_id IS NULL);
END
$$;

CREATE FUNCTION my_runner_condemn(runner_id uuid, at_beat bigint, at timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    IF EXISTS (SELECT FROM cloacina.runner WHERE id = runner_id AND tenant_id = tenant) THEN
        PERFORM 1 FROM cloacina.runner WHERE id = runner_id FOR UPDATE;
        UPDATE cloacina.runner SET state = 'dead'
        WHERE id = runner_id AND state = 'live' AND (at_beat IS NULL OR beat = at_beat);
    END IF;
    RETURN (SELECT state FROM cloacina.my_runner_state(runner_id, at) AS state);
END
$$;

-- Notes that a dead runner of the tenant holds nothing in its place any more.
CREATE FUNCTION my_runner_place_delete(dead_runner uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    DELETE FROM cloacina.runner_place
    WHERE runner_id = dead_runner AND tenant_id = tenant
      AND EXISTS (SELECT FROM cloacina.runner WHERE id = dead_runner AND runner.tenant_id = tenant AND state = 'dead');
END
$$;

-- A dead row stays until its place is clean.
CREATE FUNCTION my_runner_remove(dead_runner uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.my_tenant_or_raise();
BEGIN
    DELETE FROM cloacina.runner
    WHERE id = dead_runner AND tenant_id = tenant AND state = 'dead'
      AND NOT EXISTS (SELECT FROM cloacina.runner_place WHERE runner_id = dead_runner);
END
$$;

-- Functions are for everybody unless that is taken back. Who may call which is granted where the roles are
-- made. The first two run with the caller's own rights, which have to suffice.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cloacina FROM PUBLIC;
GRANT EXECUTE ON FUNCTION fence(uuid), condemn(uuid, bigint) TO PUBLIC;
