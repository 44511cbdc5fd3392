-- What is known of the files of a directory. Everything here can be read from the files, so there are no
-- migrations: a table that is to look otherwise gets another name.

-- The tenants by the name of their file. The time is 0 where somebody has to look.
CREATE TABLE IF NOT EXISTS place (
    id     TEXT NOT NULL PRIMARY KEY COLLATE NOCASE,
    tenant BLOB NOT NULL UNIQUE CHECK (length(tenant) = 16),
    due_at INTEGER DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS place_due ON place (due_at) WHERE due_at IS NOT NULL;

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
