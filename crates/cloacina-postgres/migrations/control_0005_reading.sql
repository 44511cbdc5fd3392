-- Reading the rows of several tenants that share tables, one after the other: for an invoice run, a report, a
-- search for what went wrong.
--
--   reading   who may read whose rows, until when, and why; written by the operator, committed before the
--     first row is read
--
-- The reader's login is another one than the application's, with the right to SELECT and no other. Its
-- policies let a row pass as long as a grant is valid that its transaction presents by two settings. Any SQL
-- can set them: what they say counts for nothing without the row here, which names the login, and which
-- nobody can write but by `grant_reading`. That writes to the audit in the same transaction, so whoever reads
-- has been noted before, whatever becomes of the reader.

CREATE TABLE reading (
    id         uuid        NOT NULL PRIMARY KEY DEFAULT gen_random_uuid(),
    -- The login that may present it.
    reader     text        NOT NULL,
    tenants    uuid[]      NOT NULL CHECK (cardinality(tenants) > 0),
    reason     text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    granted_by text        NOT NULL DEFAULT session_user,
    -- The transaction that it was written in, savepoints or not.
    granted_in xid8        NOT NULL DEFAULT pg_current_xact_id(),
    expires_at timestamptz NOT NULL
);

CREATE INDEX reading_expires ON reading (expires_at);

-- Grants a login the reading of these tenants, all of them for NULL, for some seconds; says which tenants
-- they are. It holds from the commit on.
CREATE FUNCTION grant_reading(to_reader text, of_tenants text[], because text, seconds integer)
RETURNS TABLE (reading uuid, tenant_id uuid, name text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    granted uuid;
    named   uuid[];
    unknown text;
BEGIN
    IF because IS NULL OR because !~ '\S' OR length(because) > 1000 THEN
        RAISE EXCEPTION 'reading across tenants needs a reason, of 1,000 letters at most' USING ERRCODE = '22023';
    END IF;
    IF seconds IS NULL OR seconds NOT BETWEEN 1 AND 3600 THEN
        RAISE EXCEPTION 'reading across tenants is granted for an hour at most' USING ERRCODE = '22023';
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = member
        WHERE roleid = to_regrole('cloacina_reader') AND rolname = to_reader
    ) THEN
        RAISE EXCEPTION 'the login % is no reader', to_reader USING ERRCODE = '42704';
    END IF;
    SELECT wanted INTO unknown FROM unnest(of_tenants) AS wanted
    WHERE NOT EXISTS (
        SELECT FROM cloacina.tenant WHERE tenant.name = wanted AND placement = 'shared' AND state IN ('active', 'suspended')
    ) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'no tenant that shares tables is called %', coalesce(unknown, 'NULL') USING ERRCODE = 'TN001';
    END IF;
    named := ARRAY(
        SELECT tenant.tenant_id FROM cloacina.tenant
        WHERE placement = 'shared' AND state IN ('active', 'suspended') AND (of_tenants IS NULL OR tenant.name = ANY (of_tenants))
        ORDER BY tenant.name
    );
    IF named = '{}' THEN
        RAISE EXCEPTION 'there is no tenant to be read' USING ERRCODE = 'TN001';
    END IF;
    -- What is noted stays noted, even if the server fails right after.
    PERFORM set_config('synchronous_commit', 'on', true);
    DELETE FROM cloacina.reading WHERE expires_at < now() - interval '1 day';
    INSERT INTO cloacina.reading (reader, tenants, reason, expires_at)
    VALUES (to_reader, named, because, clock_timestamp() + seconds * interval '1 second')
    RETURNING id INTO granted;
    INSERT INTO cloacina.audit (action, tenant_id, schema_name, detail)
    SELECT 'read_across', read, 'cloacina_shared', format('%s: %s', to_reader, because) FROM unnest(named) AS read;
    RETURN QUERY
        SELECT granted, tenant.tenant_id, tenant.name FROM cloacina.tenant WHERE tenant.tenant_id = ANY (named) ORDER BY tenant.name;
END
$$;

-- Whose rows the transaction may read. Raises if there is nobody's.
CREATE FUNCTION reading() RETURNS uuid LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tenant uuid := nullif(current_setting('cloacina.reading_of', true), '')::uuid;
BEGIN
    PERFORM FROM cloacina.reading
    WHERE id = nullif(current_setting('cloacina.reading', true), '')::uuid
      AND reader = session_user AND tenant = ANY (tenants) AND expires_at > clock_timestamp()
      -- Not of this transaction, which may still take it back.
      AND pg_xact_status(granted_in) = 'committed';
    IF NOT FOUND OR current_setting('transaction_read_only') <> 'on' THEN
        RAISE EXCEPTION 'the transaction was not granted the reading of this tenant' USING ERRCODE = '42501';
    END IF;
    RETURN tenant;
END
$$;

REVOKE ALL ON FUNCTION grant_reading(text, text[], text, integer), reading() FROM PUBLIC;
