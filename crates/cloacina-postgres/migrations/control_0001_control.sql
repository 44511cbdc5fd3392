-- What the engine keeps once per database, in the schema `cloacina`. This runs with that schema alone in the
-- search path.
--
--   tenant        whose rows are in which schema, and how far that schema was migrated
--   doorbell      when the earliest unclaimed work of a tenant is due; the one table that every process looks
--     at
--   notice        executions that were cancelled, paused or resumed in the last minute
--   retention     how long ago the executions ended that have been kept longest, so that nobody looks where
--     nothing is to be deleted
--   runner        who is alive; its row decides, not a clock
--   runner_place  where a runner may hold claims, so that a rescue knows where to look
--   migration     what was applied, with the checksum of its text

-- What columns of the tenants' tables may hold.
CREATE DOMAIN execution_state AS text
    CHECK (VALUE IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled'));
CREATE DOMAIN task_state AS text
    CHECK (VALUE IN ('pending', 'waiting', 'ready', 'running', 'completed', 'failed', 'skipped', 'cancelled'));
CREATE DOMAIN attempt_outcome AS text
    CHECK (VALUE IN ('completed', 'failed', 'panicked', 'timed_out', 'snoozed', 'lost', 'released', 'cancelled'));
CREATE DOMAIN skip_reason AS text CHECK (VALUE IN ('by_rule', 'upstream_failed'));

CREATE TABLE migration (
    -- `control` for this schema, `place` for the tenants' schemas.
    scope      text        NOT NULL CHECK (scope IN ('control', 'place')),
    number     integer     NOT NULL CHECK (number > 0),
    checksum   bigint      NOT NULL,
    -- The oldest program that can still work once this was applied, counted in the migrations it knows.
    min_reader integer     NOT NULL CHECK (min_reader BETWEEN 1 AND number),
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, number)
);

CREATE TABLE tenant (
    tenant_id      uuid        NOT NULL PRIMARY KEY,
    name           text        NOT NULL,
    schema_name    text        NOT NULL CHECK (schema_name ~ '^[A-Za-z0-9_]{1,63}$'),
    state          text        NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'suspended', 'moving', 'removed')),
    -- Counts the places that a tenant of this name has had.
    epoch          integer     NOT NULL DEFAULT 1 CHECK (epoch > 0),
    schema_version integer     NOT NULL CHECK (schema_version >= 0),
    min_reader     integer     NOT NULL CHECK (min_reader BETWEEN 0 AND schema_version),
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- Names are kept as they were given and quoted everywhere; two that differ only in case would be told apart
-- by the server and by nobody else.
CREATE UNIQUE INDEX tenant_schema ON tenant (lower(schema_name));

CREATE TABLE doorbell (
    tenant_id uuid NOT NULL PRIMARY KEY,
    -- NULL: nothing is due, now or later.
    due_at    timestamptz
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0,
        autovacuum_vacuum_cost_delay = 0);

CREATE INDEX doorbell_due ON doorbell (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE notice (
    tenant_id    uuid        NOT NULL,
    execution_id uuid        NOT NULL,
    created_at   timestamptz NOT NULL CHECK (isfinite(created_at))
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- By the first everybody reads what is new, by the second it is seen how much of it is one tenant's.
CREATE INDEX notice_created ON notice (created_at);
CREATE INDEX notice_tenant ON notice (tenant_id, created_at);

-- No execution of a tenant that ended like this, and that no other one started, ended before this time. The
-- times are facts, and none of them depends on how long anybody keeps what. A tenant without a row has not
-- been looked at.
CREATE TABLE retention (
    tenant_id      uuid        NOT NULL PRIMARY KEY,
    -- Until then nobody but whoever took it looks at it.
    not_before     timestamptz NOT NULL CHECK (isfinite(not_before)),
    completed_from timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(completed_from)),
    failed_from    timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(failed_from)),
    cancelled_from timestamptz NOT NULL DEFAULT 'epoch' CHECK (isfinite(cancelled_from))
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200);

CREATE TABLE runner (
    id           uuid        NOT NULL PRIMARY KEY,
    state        text        NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'dead')),
    beat         bigint      NOT NULL DEFAULT 0,
    lease_ms     bigint      NOT NULL CHECK (lease_ms > 0),
    -- Which process it is, all three or none: see `ProcessIdentity`.
    host         text,
    pid          integer,
    started      bigint,
    -- What people call the host, which `host` identifies.
    host_name    text        CHECK (length(host_name) <= 255),
    -- What it can run: names and fingerprints, pair by pair.
    workflows    text[]      NOT NULL,
    fingerprints bigint[]    NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    CHECK (num_nulls(host, pid, started) IN (0, 3)),
    CHECK (cardinality(workflows) = cardinality(fingerprints)),
    -- Lists without a gap: everybody who rescues reads them.
    CHECK (CASE WHEN array_ndims(workflows) > 1 THEN false ELSE array_position(workflows, NULL) IS NULL END),
    CHECK (CASE WHEN array_ndims(fingerprints) > 1 THEN false ELSE array_position(fingerprints, NULL) IS NULL END),
    CHECK (isfinite(heartbeat_at))
) WITH (fillfactor = 50);

CREATE TABLE runner_place (
    runner_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    PRIMARY KEY (runner_id, tenant_id)
);

-- The first statement of every transaction in which a runner writes. It raises, so that what follows in the
-- same flight is refused too: the client has sent its COMMIT already and cannot branch.
--
-- FOR KEY SHARE lets heartbeats pass and makes whoever declares this runner dead (FOR UPDATE) wait for the
-- commit.
CREATE FUNCTION fence(runner_id uuid) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM 1 FROM cloacina.runner WHERE id = runner_id AND state = 'live' FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'runner % is not live', runner_id USING ERRCODE = 'CL001';
    END IF;
END
$$;
