-- The tables of one SQLite file: the place of one tenant.
--
-- Ids are UUIDs as 16 bytes, times are microseconds since 1970 in UTC, contexts are JSON. `tenant_id` comes
-- first in every key of the tables of work, although a file has one tenant, so that the statements and the
-- rows are those of every other placement.
--
-- The two tables that hold contexts have a rowid. Without one, SQLite keeps rows above a quarter of a page on
-- overflow pages of their own: with contexts of 1 kB the file was three times as large and a batch took 1.6
-- times as long; with small ones the rowid costs 3 %. The narrow tables have none: their rows are their keys.
-- The columns that may be long come last, so that reading the others does not follow them to overflow pages.

-- What this file is. One row.
CREATE TABLE cloacina_place (
    tenant_id      BLOB    NOT NULL PRIMARY KEY CHECK (length(tenant_id) = 16),
    one            INTEGER NOT NULL UNIQUE DEFAULT 1 CHECK (one = 1),
    schema_version INTEGER NOT NULL,
    -- The oldest program that can work with this file, as the number of its last migration.
    min_reader     INTEGER NOT NULL CHECK (min_reader <= schema_version),
    created_at     INTEGER NOT NULL,
    -- The latest time that a runner wrote which is gone by now: a clock that was set back does not go behind
    -- it.
    latest_at      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE cloacina_migration (
    number     INTEGER NOT NULL PRIMARY KEY,
    checksum   INTEGER NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cloacina_runner (
    id              BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    state           TEXT    NOT NULL CHECK (state IN ('live', 'dead')),
    beat            INTEGER NOT NULL,
    lease_us        INTEGER NOT NULL CHECK (lease_us >= 0),
    host            TEXT,
    pid             INTEGER,
    process_started INTEGER,
    -- What people call the host, which `host` identifies.
    host_name       TEXT,
    registered_at   INTEGER NOT NULL,
    beat_at         INTEGER NOT NULL,
    -- What it can run: a JSON array of [name, fingerprint].
    workflows       TEXT    NOT NULL,
    CHECK ((host IS NULL) = (pid IS NULL) AND (host IS NULL) = (process_started IS NULL))
) STRICT, WITHOUT ROWID;

-- What somebody did by name, each row with the hash over it and the one before. 
CREATE TABLE cloacina_audit (
    id       INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL CHECK (length(actor) <= 200),
    role     TEXT    CHECK (length(role) <= 64),
    action   TEXT    NOT NULL CHECK (length(action) <= 100),
    -- The chain that it is in: the tenant's whose file this is.
    tenant   TEXT    NOT NULL COLLATE NOCASE CHECK (length(tenant) <= 200),
    object   TEXT    CHECK (length(object) <= 300),
    reason   TEXT    CHECK (length(reason) <= 1000),
    detail   TEXT    CHECK (length(detail) <= 4000),
    position INTEGER NOT NULL CHECK (position > 0),
    seal     BLOB    NOT NULL CHECK (length(seal) = 32)
) STRICT;

CREATE UNIQUE INDEX cloacina_audit_position ON cloacina_audit (tenant, position);

-- The end of each chain.
CREATE TABLE cloacina_audit_chain (
    tenant   TEXT    NOT NULL PRIMARY KEY COLLATE NOCASE,
    position INTEGER NOT NULL,
    seal     BLOB    NOT NULL CHECK (length(seal) = 32)
) STRICT, WITHOUT ROWID;

-- What workflows look like that some process had here, for those that have not.
CREATE TABLE cloacina_workflow (
    name        TEXT    NOT NULL CHECK (length(CAST(name AS BLOB)) <= 300),
    fingerprint INTEGER NOT NULL,
    version     TEXT    CHECK (length(CAST(version AS BLOB)) <= 200),
    first_seen  INTEGER NOT NULL,
    -- JSON. Absent if it is too large.
    description TEXT    CHECK (length(CAST(description AS BLOB)) <= 1048576),
    PRIMARY KEY (name, fingerprint)
) STRICT;

-- What lets programs and people in, and the sessions made from them: the hashes of their secrets, never a
-- secret.
CREATE TABLE cloacina_key (
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

CREATE INDEX cloacina_key_parent ON cloacina_key (parent) WHERE parent IS NOT NULL;
CREATE INDEX cloacina_key_tenant ON cloacina_key (tenant, id) WHERE tenant IS NOT NULL;

-- Executions that somebody cancelled, paused or resumed within the last minute.
CREATE TABLE cloacina_notice (
    tenant_id    BLOB    NOT NULL,
    noticed_at   INTEGER NOT NULL,
    execution_id BLOB    NOT NULL,
    PRIMARY KEY (tenant_id, noticed_at, execution_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE workflow_executions (
    tenant_id       BLOB    NOT NULL CHECK (length(tenant_id) = 16),
    id              BLOB    NOT NULL CHECK (length(id) = 16),
    workflow        TEXT    NOT NULL,
    fingerprint     INTEGER NOT NULL,
    state           TEXT    NOT NULL
                    CHECK (state IN ('pending', 'running', 'waiting', 'paused', 'completed', 'failed', 'cancelled')),
    priority        INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    created_at      INTEGER NOT NULL,
    started_at      INTEGER,
    finished_at     INTEGER,
    deadline        INTEGER,
    idempotency_key TEXT,
    input_hash      INTEGER,
    -- When it starts, as long as it has no tasks: it was submitted by name, and whoever has the workflow
    -- gives it those, and the version. Until then one ready row, of task 0 and version 0, is its only one.
    expands_at      INTEGER CHECK (expands_at BETWEEN 0 AND 253370764800000000),
    -- The schedule that started it.
    schedule_id     BLOB CHECK (length(schedule_id) = 16),
    -- The execution that it is a child of, the node that waits for it there, and its number among those of
    -- that node.
    parent_id       BLOB    CHECK (length(parent_id) = 16),
    parent_node     INTEGER CHECK (parent_node >= 0),
    item            INTEGER CHECK (item >= 0),
    -- Whether there may be rows of it in `task_waits`, `task_children` and `signals`: only then is looked
    -- there when it goes.
    has_waits       INTEGER NOT NULL DEFAULT 0 CHECK (has_waits IN (0, 1)),
    -- The execution whose place it took, and the one that took its place. Either may be deleted by now.
    rerun_of        BLOB CHECK (length(rerun_of) = 16),
    superseded_by   BLOB CHECK (length(superseded_by) = 16),
    -- What it is called, besides: a JSON array. Each is in `execution_tags` as well.
    tags            TEXT CHECK (length(tags) <= 4000),
    -- Who submitted it, if that was said.
    submitted_by    TEXT CHECK (length(submitted_by) <= 200),
    -- The workflow that is started when it fails.
    on_failure      TEXT CHECK (length(on_failure) <= 200),
    error           TEXT,
    input           TEXT    NOT NULL,
    PRIMARY KEY (tenant_id, id),
    CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'cancelled'))),
    CHECK (state <> 'pending' OR started_at IS NULL),
    CHECK (state NOT IN ('running', 'waiting') OR started_at IS NOT NULL),
    CHECK ((idempotency_key IS NULL) = (input_hash IS NULL)),
    CHECK (expands_at IS NULL OR (fingerprint = 0 AND started_at IS NULL)),
    CHECK ((parent_id IS NULL) = (parent_node IS NULL) AND (parent_id IS NULL) = (item IS NULL))
) STRICT;

-- What is listed, and what is open: the state comes first, so that what runs, waits or is paused is found
-- without what does not, and in it the workflow, so that a page of either is found at once, however many have
-- ended. Lists leave children out, of which there may be many.
CREATE INDEX workflow_executions_listed ON workflow_executions (tenant_id, state, workflow, (parent_id IS NULL), id);

-- What is pruned, by how it ended: the oldest end first. A commit in which something ends writes one more
-- page for it. Children go with their parents.
CREATE INDEX workflow_executions_ended ON workflow_executions (tenant_id, state, finished_at)
    WHERE finished_at IS NOT NULL AND parent_id IS NULL;

-- The children of an execution, in their order; no item has two. And those that are open.
CREATE UNIQUE INDEX workflow_executions_children ON workflow_executions (tenant_id, parent_id, parent_node, item)
    WHERE parent_id IS NOT NULL;
CREATE INDEX workflow_executions_open_children ON workflow_executions (tenant_id, parent_id, parent_node)
    WHERE parent_id IS NOT NULL AND finished_at IS NULL;

-- What is to be expanded: almost always none.
CREATE INDEX workflow_executions_unexpanded ON workflow_executions (tenant_id, expands_at)
    WHERE expands_at IS NOT NULL AND state = 'pending';

CREATE UNIQUE INDEX workflow_executions_idempotency ON workflow_executions (tenant_id, workflow, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE TABLE task_executions (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL,
    task         INTEGER NOT NULL CHECK (task >= 0),
    name         TEXT    NOT NULL,
    state        TEXT    NOT NULL
                 CHECK (state IN ('pending', 'waiting', 'ready', 'running', 'completed', 'failed', 'skipped', 'cancelled')),
    waiting_on   INTEGER NOT NULL CHECK (waiting_on >= 0),
    attempt      INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    failures     INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    lost         INTEGER NOT NULL DEFAULT 0 CHECK (lost >= 0),
    handled      INTEGER NOT NULL DEFAULT 0 CHECK (handled IN (0, 1)),
    runner_id    BLOB CHECK (length(runner_id) = 16),
    due_at       INTEGER,
    started_at   INTEGER,
    finished_at  INTEGER,
    -- Of the latest attempt, once it is over and the task with it. An attempt that another one follows lies
    -- in `task_attempts`.
    outcome      TEXT,
    skip_reason  TEXT CHECK (skip_reason IN ('by_rule', 'upstream_failed')),
    error        TEXT,
    patch        TEXT,
    PRIMARY KEY (tenant_id, execution_id, task),
    CHECK ((finished_at IS NOT NULL) = (state IN ('completed', 'failed', 'skipped', 'cancelled'))),
    CHECK (state <> 'pending' OR waiting_on > 0),
    CHECK (state <> 'ready' OR (waiting_on = 0 AND due_at IS NOT NULL)),
    CHECK (state <> 'waiting' OR (waiting_on = 0 AND due_at IS NOT NULL AND started_at IS NOT NULL)),
    CHECK (state <> 'running' OR (runner_id IS NOT NULL AND started_at IS NOT NULL AND attempt > 0)),
    CHECK (outcome IS NULL OR finished_at IS NOT NULL),
    CHECK ((skip_reason IS NOT NULL) = (state = 'skipped'))
) STRICT;

-- What may be claimed, and when: the tasks that are `ready` in executions that are not paused.
CREATE TABLE ready_tasks (
    tenant_id    BLOB    NOT NULL,
    priority     INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 9),
    due_at       INTEGER NOT NULL,
    execution_id BLOB    NOT NULL,
    task         INTEGER NOT NULL CHECK (task >= 0),
    workflow     TEXT    NOT NULL,
    fingerprint  INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, priority, due_at, execution_id, task)
) STRICT, WITHOUT ROWID;

-- What the engine itself has to do at a time, to or with a subject. The kinds are numbered in the code; 0 is
-- the deadline of an execution, 1 a wait of one, 2 a look at a schedule, 3 a look at the children of an
-- execution, 4 the sweep of those that are open. The cause tells apart two rows about one subject at one
-- time.
CREATE TABLE due_rows (
    tenant_id BLOB    NOT NULL,
    kind      INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 15),
    -- From 1970 to 9999.
    due_at    INTEGER NOT NULL CHECK (due_at BETWEEN 0 AND 253370764800000000),
    subject   BLOB    NOT NULL CHECK (length(subject) = 16),
    cause     TEXT    NOT NULL CHECK (length(cause) <= 200),
    PRIMARY KEY (tenant_id, kind, due_at, subject, cause)
) STRICT, WITHOUT ROWID;

-- What starts executions by itself. What a schedule says and how far it is are JSON that the engine reads;
-- the other columns are what statements need, and what people look for. Its due row, of kind 2 and without a
-- cause, is due at `due_at`.
CREATE TABLE schedules (
    tenant_id      BLOB    NOT NULL CHECK (length(tenant_id) = 16),
    id             BLOB    NOT NULL CHECK (length(id) = 16),
    name           TEXT    NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    -- Who put it together with others.
    origin         TEXT    CHECK (length(origin) BETWEEN 1 AND 200),
    state          TEXT    NOT NULL CHECK (state IN ('active', 'paused', 'done', 'broken')),
    reason         TEXT    CHECK (length(reason) <= 4000),
    version        INTEGER NOT NULL CHECK (version BETWEEN -2147483648 AND 2147483647),
    -- Up to which time it has fired, by the clock on the wall.
    cursor_at      INTEGER NOT NULL CHECK (cursor_at BETWEEN 0 AND 253370764800000000),
    due_at         INTEGER CHECK (due_at BETWEEN 0 AND 253370764800000000),
    last_execution BLOB CHECK (length(last_execution) = 16),
    -- What its backfill started and had not seen end: ids of 16 bytes, one behind the other.
    backfilling    BLOB    NOT NULL CHECK (length(backfilling) <= 16000 AND length(backfilling) % 16 = 0),
    updated_at     INTEGER NOT NULL,
    spec           TEXT    NOT NULL CHECK (length(spec) <= 2097152),
    progress       TEXT    NOT NULL CHECK (length(progress) <= 262144),
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE UNIQUE INDEX schedules_name ON schedules (tenant_id, name);

-- What came of the times at which schedules fire: the newest thousand of each, and some more.
CREATE TABLE schedule_fires (
    tenant_id    BLOB    NOT NULL,
    schedule_id  BLOB    NOT NULL CHECK (length(schedule_id) = 16),
    nominal_at   INTEGER NOT NULL CHECK (nominal_at BETWEEN 0 AND 253370764800000000),
    outcome      TEXT    NOT NULL
                 CHECK (outcome IN ('started', 'repeated', 'skipped', 'missed', 'buffered', 'dropped', 'refused')),
    execution_id BLOB CHECK (length(execution_id) = 16),
    -- How many other times it stands for.
    missed       INTEGER NOT NULL CHECK (missed BETWEEN 0 AND 2147483647),
    fired_at     INTEGER NOT NULL CHECK (fired_at BETWEEN 0 AND 253370764800000000),
    PRIMARY KEY (tenant_id, schedule_id, nominal_at)
) STRICT, WITHOUT ROWID;

-- What a node waits for that has begun to wait, as long as it does. When it is to be looked at says its row
-- in `task_executions`, and with it its due row.
CREATE TABLE task_waits (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL,
    task         INTEGER NOT NULL CHECK (task >= 0),
    -- The name of the signal; it sleeps if there is none.
    signal       TEXT    CHECK (length(CAST(signal AS BLOB)) <= 200),
    -- When its time is over. The year 9000 is never.
    until        INTEGER NOT NULL CHECK (until BETWEEN 0 AND 253370764800000000),
    -- The question that it puts.
    ask          TEXT    CHECK (length(ask) <= 65536),
    PRIMARY KEY (tenant_id, execution_id, task)
) STRICT, WITHOUT ROWID;

-- How far a node is that waits, or waited, for children. It stays with its execution.
CREATE TABLE task_children (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL,
    task         INTEGER NOT NULL CHECK (task >= 0),
    total        INTEGER NOT NULL CHECK (total >= 0),
    -- -1 if nobody waits for them.
    parallel     INTEGER NOT NULL CHECK (parallel >= -1),
    tolerated    INTEGER NOT NULL CHECK (tolerated >= 0),
    started      INTEGER NOT NULL DEFAULT 0 CHECK (started >= 0),
    completed    INTEGER NOT NULL DEFAULT 0 CHECK (completed >= 0),
    failed       INTEGER NOT NULL DEFAULT 0 CHECK (failed >= 0),
    -- Whether its children go on when it ends before them.
    abandons     INTEGER NOT NULL CHECK (abandons IN (0, 1)),
    PRIMARY KEY (tenant_id, execution_id, task)
) STRICT, WITHOUT ROWID;

-- What is asked, without what only waits.
CREATE INDEX task_waits_asking ON task_waits (tenant_id, execution_id, task) WHERE ask IS NOT NULL;

-- The signals that came, by name in the order in which they came. They stay with their execution.
CREATE TABLE signals (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL,
    name         TEXT    NOT NULL CHECK (length(CAST(name AS BLOB)) <= 200),
    number       INTEGER NOT NULL CHECK (number > 0),
    -- One of this key is recorded once.
    key          TEXT    CHECK (length(CAST(key AS BLOB)) <= 200),
    received_at  INTEGER NOT NULL,
    -- The wait that took it.
    taken_by     INTEGER,
    payload      TEXT    NOT NULL CHECK (length(payload) <= 33554432),
    PRIMARY KEY (tenant_id, execution_id, name, number)
) STRICT;

CREATE UNIQUE INDEX signals_key ON signals (tenant_id, execution_id, name, key) WHERE key IS NOT NULL;

-- What is looked for by a tag. Only executions that have any are here, with a row for each, until they are
-- deleted.
CREATE TABLE execution_tags (
    tenant_id    BLOB NOT NULL,
    tag          TEXT NOT NULL CHECK (length(CAST(tag AS BLOB)) BETWEEN 1 AND 64),
    execution_id BLOB NOT NULL CHECK (length(execution_id) = 16),
    PRIMARY KEY (tenant_id, tag, execution_id)
) STRICT, WITHOUT ROWID;

-- What tasks emit, in pages. What an attempt left that did not complete goes with the next one that emits
-- anything, or with its execution.
CREATE TABLE task_pages (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL CHECK (length(execution_id) = 16),
    task         INTEGER NOT NULL CHECK (task >= 0),
    attempt      INTEGER NOT NULL CHECK (attempt > 0),
    name         TEXT    NOT NULL CHECK (length(CAST(name AS BLOB)) <= 200),
    -- The number of its first item among all of this name.
    first        INTEGER NOT NULL CHECK (first >= 0),
    -- A JSON array.
    items        TEXT    NOT NULL CHECK (length(CAST(items AS BLOB)) <= 8388608),
    PRIMARY KEY (tenant_id, execution_id, task, attempt, name, first)
) STRICT;

-- The attempts that are over and were followed, or are to be followed, by another one.
CREATE TABLE task_attempts (
    tenant_id    BLOB    NOT NULL,
    execution_id BLOB    NOT NULL,
    task         INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    runner_id    BLOB    NOT NULL,
    outcome      TEXT    NOT NULL,
    started_at   INTEGER NOT NULL,
    finished_at  INTEGER NOT NULL,
    error        TEXT,
    PRIMARY KEY (tenant_id, execution_id, task, attempt)
) STRICT, WITHOUT ROWID;

-- What people look at who look with SQL: ids and times that can be read, and no payloads. They are part of
-- the interface (docs/guides/reference.md), as nothing else in a file is. Their twins on PostgreSQL have the
-- same columns.
CREATE VIEW v_executions AS
SELECT
    lower(substr(hex(tenant_id), 1, 8) || '-' || substr(hex(tenant_id), 9, 4) || '-' || substr(hex(tenant_id), 13, 4) || '-'
        || substr(hex(tenant_id), 17, 4) || '-' || substr(hex(tenant_id), 21)) AS tenant_id,
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-'
        || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS execution_id,
    workflow,
    printf('%016x', fingerprint) AS version,
    state,
    priority,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', started_at / 1000000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000000.0, 'unixepoch') AS finished_at,
    (finished_at - started_at) / 1000000.0 AS seconds,
    strftime('%Y-%m-%dT%H:%M:%fZ', deadline / 1000000.0, 'unixepoch') AS deadline,
    idempotency_key,
    tags,
    submitted_by,
    (SELECT name FROM schedules WHERE schedules.tenant_id = workflow_executions.tenant_id AND schedules.id = schedule_id)
        AS schedule,
    CASE WHEN parent_id IS NOT NULL THEN lower(substr(hex(parent_id), 1, 8) || '-' || substr(hex(parent_id), 9, 4) || '-' || substr(hex(parent_id), 13, 4) || '-'
        || substr(hex(parent_id), 17, 4) || '-' || substr(hex(parent_id), 21)) END AS parent_id,
    item,
    CASE WHEN rerun_of IS NOT NULL THEN lower(substr(hex(rerun_of), 1, 8) || '-' || substr(hex(rerun_of), 9, 4) || '-' || substr(hex(rerun_of), 13, 4) || '-'
        || substr(hex(rerun_of), 17, 4) || '-' || substr(hex(rerun_of), 21)) END AS rerun_of,
    CASE WHEN superseded_by IS NOT NULL THEN lower(substr(hex(superseded_by), 1, 8) || '-' || substr(hex(superseded_by), 9, 4) || '-' || substr(hex(superseded_by), 13, 4) || '-'
        || substr(hex(superseded_by), 17, 4) || '-' || substr(hex(superseded_by), 21)) END AS superseded_by,
    on_failure,
    error
FROM workflow_executions;

CREATE VIEW v_tasks AS
SELECT
    lower(substr(hex(task_executions.tenant_id), 1, 8) || '-' || substr(hex(task_executions.tenant_id), 9, 4) || '-' || substr(hex(task_executions.tenant_id), 13, 4) || '-'
        || substr(hex(task_executions.tenant_id), 17, 4) || '-' || substr(hex(task_executions.tenant_id), 21)) AS tenant_id,
    lower(substr(hex(task_executions.execution_id), 1, 8) || '-' || substr(hex(task_executions.execution_id), 9, 4) || '-' || substr(hex(task_executions.execution_id), 13, 4) || '-'
        || substr(hex(task_executions.execution_id), 17, 4) || '-' || substr(hex(task_executions.execution_id), 21)) AS execution_id,
    workflow,
    task_executions.task AS position,
    task_executions.name AS task,
    task_executions.state,
    attempt AS attempts,
    failures,
    lost,
    strftime('%Y-%m-%dT%H:%M:%fZ', task_executions.due_at / 1000000.0, 'unixepoch') AS due_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', task_executions.started_at / 1000000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', task_executions.finished_at / 1000000.0, 'unixepoch') AS finished_at,
    (task_executions.finished_at - task_executions.started_at) / 1000000.0 AS seconds,
    outcome,
    task_executions.error,
    skip_reason,
    handled,
    CASE WHEN runner_id IS NOT NULL THEN lower(substr(hex(runner_id), 1, 8) || '-' || substr(hex(runner_id), 9, 4) || '-' || substr(hex(runner_id), 13, 4) || '-'
        || substr(hex(runner_id), 17, 4) || '-' || substr(hex(runner_id), 21)) END AS runner_id,
    signal AS waits_for,
    -- The year 9000 is never.
    CASE WHEN until < 221845392000000000 THEN strftime('%Y-%m-%dT%H:%M:%fZ', until / 1000000.0, 'unixepoch') END AS waits_until
FROM task_executions
LEFT JOIN task_waits USING (tenant_id, execution_id, task)
JOIN workflow_executions ON workflow_executions.tenant_id = task_executions.tenant_id
    AND workflow_executions.id = task_executions.execution_id;
