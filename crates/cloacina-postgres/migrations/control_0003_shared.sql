-- Tenants whose rows lie in tables with those of others, told apart by `tenant_id` and kept apart by row
-- security.
--
--   data_key   what tokens and proofs are made with; nobody reads it but the owner, and the operator who
--     signs
--
-- The application's login serves them all. In a session of it, any SQL can set any setting, so a setting
-- alone says nothing about whose transaction it is. `enter` checks a token that the operator signed, once,
-- and leaves a proof that only the owner of this schema can make: a code over the tenant, the server process,
-- the time of the transaction and the session's user. `entered` makes the code again and compares. So what a
-- transaction of one tenant learns is of no use in another transaction, in another session or for another
-- tenant.

ALTER TABLE tenant
    -- `schema`: its own. `shared`: the tables of the schema `cloacina_shared`. `host`: that schema itself,
    -- which is no tenant.
    ADD COLUMN placement text NOT NULL DEFAULT 'schema' CHECK (placement IN ('schema', 'shared', 'host')),
    ADD CONSTRAINT tenant_tables_check CHECK ((placement <> 'schema') = (schema_name = 'cloacina_shared'));

DROP INDEX tenant_schema;
CREATE UNIQUE INDEX tenant_schema ON tenant (lower(schema_name)) WHERE state <> 'removed' AND placement <> 'shared';

CREATE TABLE data_key (
    id         integer     NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    -- The key under the two pads of HMAC (RFC 2104, section 2).
    inner_pad  bytea       NOT NULL CHECK (length(inner_pad) = 64),
    outer_pad  bytea       NOT NULL CHECK (length(outer_pad) = 64),
    created_at timestamptz NOT NULL DEFAULT now()
);

-- 64 bytes from the server's source of strong random numbers: four UUIDs of version 4, 122 bits each.
DO $$
DECLARE
    key       bytea := decode(replace(
        gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex');
    inner_key bytea := key;
    outer_key bytea := key;
BEGIN
    FOR at IN 0..63 LOOP
        inner_key := set_byte(inner_key, at, get_byte(key, at) # 54);
        outer_key := set_byte(outer_key, at, get_byte(key, at) # 92);
    END LOOP;
    INSERT INTO data_key (inner_pad, outer_pad) VALUES (inner_key, outer_key);
END
$$;

-- Makes the transaction a tenant's, if the operator says so: the token names the tenant, the login, the
-- session and the time until which it is good. It also says whether the tenant is still where it was when its
-- place was looked up, and may work.
--
-- `cloacina.session` is a secret of the login's sessions, which each is given once. With it the token may
-- stand in the message that begins the transaction, for others to see, and is good nowhere else: a token that
-- somebody picked up comes too late in his own transaction, and needs a secret that is in no text to begin
-- one. Behind a pooler there are no sessions, and no secret; the token is then not in a text.
--
-- Token and proof are HMAC-SHA-256. Both functions compute them in place: a function for it would cost more
-- than the rest of them together, and `entered` is called for each statement.
CREATE FUNCTION enter(entering uuid, its_epoch integer, with_key integer, expires bigint, token bytea) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key          cloacina.data_key;
    session      text := coalesce(current_setting('cloacina.session', true), '');
    found_tenant cloacina.tenant;
BEGIN
    IF session <> '' AND statement_timestamp() <> transaction_timestamp() THEN
        RAISE EXCEPTION 'the transaction has begun before' USING ERRCODE = '42501';
    END IF;
    SELECT * INTO key FROM cloacina.data_key WHERE id = with_key;
    IF expires < extract(epoch FROM clock_timestamp()) THEN
        RAISE EXCEPTION 'the token is too old' USING ERRCODE = '42501';
    END IF;
    -- A key that is not there makes NULL, which must not be equal to a token that is not there.
    IF NOT coalesce(token = sha256(key.outer_pad || sha256(key.inner_pad
        || convert_to(format('enter %s %s %s %s %s', entering, expires, length(session_user::text), session_user, session), 'UTF8'))), false) THEN
        RAISE EXCEPTION 'the token is not for this tenant, login and session' USING ERRCODE = '42501';
    END IF;
    SELECT * INTO found_tenant FROM cloacina.tenant WHERE tenant_id = entering;
    IF NOT (found_tenant.epoch = its_epoch AND found_tenant.placement = 'shared' AND found_tenant.state <> 'removed') IS TRUE THEN
        RAISE EXCEPTION 'the tenant is not here any more: open it again' USING ERRCODE = 'TN001';
    END IF;
    IF found_tenant.state <> 'active' THEN
        RAISE EXCEPTION 'the tenant is %', found_tenant.state USING ERRCODE = 'TN001';
    END IF;
    PERFORM set_config('cloacina.key', key.id::text, true), set_config('cloacina.tenant', entering::text, true),
            set_config('cloacina.proof', sha256(key.outer_pad || sha256(key.inner_pad || convert_to(
                'proof ' || entering || ' ' || pg_backend_pid() || ' ' || extract(epoch FROM transaction_timestamp()) || ' ' || session_user,
                'UTF8')))::text, true);
END
$$;

-- Whose transaction it is. Raises if it is nobody's.
CREATE FUNCTION entered() RETURNS uuid LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant text := nullif(current_setting('cloacina.tenant', true), '');
    key    cloacina.data_key;
BEGIN
    SELECT * INTO key FROM cloacina.data_key WHERE id = nullif(current_setting('cloacina.key', true), '')::integer;
    -- As above: what is NULL is equal to nothing.
    IF NOT coalesce(current_setting('cloacina.proof', true) = sha256(key.outer_pad || sha256(key.inner_pad || convert_to(
        'proof ' || tenant || ' ' || pg_backend_pid() || ' ' || extract(epoch FROM transaction_timestamp()) || ' ' || session_user,
        'UTF8')))::text, false) THEN
        RAISE EXCEPTION 'the transaction belongs to no tenant' USING ERRCODE = '42501';
    END IF;
    RETURN tenant;
END
$$;

-- What a transaction of a tenant may do in this schema, besides: see `fence` and `ring`.
CREATE FUNCTION entered_fence(runner_id uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM cloacina.entered();
    PERFORM cloacina.fence(runner_id);
END
$$;

CREATE FUNCTION entered_ring(at timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := cloacina.entered();
BEGIN
    PERFORM 1 FROM cloacina.doorbell WHERE tenant_id = tenant FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE cloacina.doorbell SET due_at = at WHERE tenant_id = tenant AND at IS NOT NULL AND (due_at IS NULL OR due_at > at);
    RETURN true;
END
$$;

REVOKE ALL ON FUNCTION enter(uuid, integer, integer, bigint, bytea), entered(), entered_fence(uuid), entered_ring(timestamptz) FROM PUBLIC;
