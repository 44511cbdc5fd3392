-- What is known of the files of a directory. Everything here but the keys, the audit and the schedules of all
-- tenants can be read from the files, so there are no migrations: a table that is to look otherwise gets
-- another name.

-- The tenants by the name of their file. The time is 0 where somebody has to look.
CREATE TABLE IF NOT EXISTS place (
    id     TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    tenant BLOB NOT NULL UNIQUE CHECK (length(tenant) = 16),
    due_at INTEGER DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS place_due ON place (due_at) WHERE due_at IS NOT NULL;

-- What a file holds that nobody has open: so that a look over all tenants reads few files. Nothing is known
-- of one that has no row here.
CREATE TABLE IF NOT EXISTS place_contents (
    id        TEXT    NOT NULL PRIMARY KEY COLLATE NOCASE,
    -- The states of its executions: a bit for each.
    states    INTEGER NOT NULL,
    -- When the newest one was recorded that failed.
    failed_at INTEGER,
    -- Whether something waits (1), and whether something asks (2).
    waits     INTEGER NOT NULL,
    -- When the executions ended that have been kept longest.
    completed INTEGER,
    failed    INTEGER,
    cancelled INTEGER
) STRICT, WITHOUT ROWID;

-- The stores that use a file, and whether they have it open.
CREATE TABLE IF NOT EXISTS holder (
    number          BLOB    NOT NULL PRIMARY KEY,
    place           TEXT    NOT NULL COLLATE NOCASE,
    is_open         INTEGER NOT NULL CHECK (is_open IN (0, 1)),
    host            TEXT,
    pid             INTEGER,
    process_started INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS holder_place ON holder (place);

-- Since which start of the machine all this is known.
CREATE TABLE IF NOT EXISTS boot (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    host TEXT    NOT NULL
) STRICT;

-- What lets programs and people in, and the sessions made from them: the hashes of their secrets, never a
-- secret. A tenant takes its keys with it.
CREATE TABLE IF NOT EXISTS cloacina_key (
    id           TEXT    NOT NULL PRIMARY KEY CHECK (length(id) = 12),
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    -- The key that it is a session of.
    parent       TEXT    CHECK (length(parent) = 12),
    -- NULL: the operator's.
    tenant       TEXT    COLLATE NOCASE CHECK (length(tenant) <= 200),
    role         TEXT    NOT NULL CHECK (length(role) <= 64),
    payloads     INTEGER NOT NULL CHECK (payloads IN (0, 1)),
    name         TEXT    NOT NULL CHECK (length(name) <= 100),
    created_at   INTEGER NOT NULL,
    created_by   TEXT    NOT NULL CHECK (length(created_by) <= 200),
    expires_at   INTEGER,
    -- To the minute.
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS cloacina_key_parent ON cloacina_key (parent) WHERE parent IS NOT NULL;
CREATE INDEX IF NOT EXISTS cloacina_key_tenant ON cloacina_key (tenant, id) WHERE tenant IS NOT NULL;

-- The schedules that all tenants have, by their origin.
CREATE TABLE IF NOT EXISTS schedule_template (
    origin     TEXT    NOT NULL PRIMARY KEY CHECK (length(origin) BETWEEN 1 AND 200),
    schedules  TEXT    NOT NULL,
    version    INTEGER NOT NULL DEFAULT 1,
    -- The last tenant that has them, of those in the order of their names; NULL when all have.
    rolled_out TEXT,
    -- Until when the process that gives them to the tenants is left alone.
    taken_till INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What somebody did by name, each row with the hash over it and the one before. The
-- rows of a tenant stay when it is gone.
CREATE TABLE IF NOT EXISTS cloacina_audit (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL CHECK (length(actor) <= 200),
    role     TEXT    CHECK (length(role) <= 64),
    action   TEXT    NOT NULL CHECK (length(action) <= 100),
    -- The chain that it is in: the tenant's, or that of the service.
    tenant   TEXT    NOT NULL COLLATE NOCASE CHECK (length(tenant) <= 200),
    object   TEXT    CHECK (length(object) <= 300),
    reason   TEXT    CHECK (length(reason) <= 1000),
    detail   TEXT    CHECK (length(detail) <= 4000),
    position INTEGER NOT NULL CHECK (position > 0),
    seal     BLOB    NOT NULL CHECK (length(seal) = 32)
) STRICT;

CREATE UNIQUE INDEX IF NOT EXISTS cloacina_audit_position ON cloacina_audit (tenant, position);

-- The end of each chain.
CREATE TABLE IF NOT EXISTS cloacina_audit_chain (
    tenant   TEXT    NOT NULL PRIMARY KEY COLLATE NOCASE,
    position INTEGER NOT NULL,
    seal     BLOB    NOT NULL CHECK (length(seal) = 32)
) STRICT, WITHOUT ROWID;
