-- A tenant's place: few tables, because every backend caches every table that it has touched.
--
-- `tenant_id` comes first in every key, so that the same statements work and rows can move wherever a tenant
-- is placed. There are no foreign keys: every transaction that changes the tasks of an execution holds the
-- lock on the execution's row, which is what the checks behind a foreign key would lock a second time.
-- Contexts are `json`, not `jsonb`: numbers keep the form they were written in.
--
-- What a column may hold is said by domains, in `cloacina`. A session reads a domain's condition once, a
-- table's with every statement that writes to it: all of them together would be a tenth of what an execution
-- costs. What has to hold between columns is therefore checked only where others than the engine may write:
-- see `place_guards`.

CREATE TABLE workflow_executions (
    tenant_id       uuid        NOT NULL,
    id              uuid        NOT NULL,
    workflow        text        NOT NULL,
    fingerprint     bigint      NOT NULL,
    state           cloacina.execution_state NOT NULL,
    priority        smallint    NOT NULL,
    input           json        NOT NULL,
    created_at      timestamptz NOT NULL,
    started_at      timestamptz,
    finished_at     timestamptz,
    deadline        timestamptz,
    idempotency_key text,
    input_hash      bigint,
    -- The process that is told when it ends.
    submitter       uuid,
    -- When it starts, as long as it has no tasks: it was submitted by name, and whoever has the workflow
    -- gives it those, and the version. Until then one ready row, of task 0 and version 0, is its only one.
    expands_at      timestamptz,
    -- The schedule that started it.
    schedule_id     uuid,
    -- The execution that it is a child of, the node that waits for it there, and its number among those of
    -- that node.
    parent_id       uuid,
    parent_node     smallint,
    item            bigint,
    -- Whether there may be rows of it in `task_waits`, `task_children` and `signals`: only then is looked
    -- there when it goes.
    has_waits       boolean     NOT NULL DEFAULT false,
    -- The execution whose place it took, and the one that took its place. Either may be deleted by now.
    rerun_of        uuid,
    superseded_by   uuid,
    -- What it is called, besides. Each is in `execution_tags` as well.
    tags            text[],
    -- Who submitted it, if that was said.
    submitted_by    text,
    -- The workflow that is started when it fails.
    on_failure      text,
    -- Why it was cancelled, or the error of the first unhandled failure.
    error           text,
    PRIMARY KEY (tenant_id, id)
) WITH (
    fillfactor = 85,
    -- An execution that ends leaves a dead entry in the index `listed`. Looks for running executions pass
    -- over dead entries until a vacuum removes them: 100,000 take about 50 ms. The server's default would
    -- allow two million in a place with ten million executions.
    autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_scale_factor = 0.01
);

-- For lists, and for looks at what is open. The state comes first, then the workflow, so a page of either is
-- found at once, however many executions have ended. An execution that waited for its first claim writes its
-- indexes once more when it starts. Most are claimed as they are recorded, and do not. Lists leave children
-- out, of which there may be many.
--
-- The condition holds for every row, and a query has to repeat it to use this index. Without it, a plan that
-- is made on empty tables would look an execution up by its id here, and walk all executions of its state.
CREATE INDEX workflow_executions_listed ON workflow_executions (tenant_id, state, workflow, (parent_id IS NULL), id)
    WHERE priority >= 0;

-- What is pruned, by how it ended: the oldest end first. New entries go to the right edge of their state.
-- Children go with their parents.
CREATE INDEX workflow_executions_ended ON workflow_executions (tenant_id, state, finished_at)
    WHERE finished_at IS NOT NULL AND parent_id IS NULL;

-- The children of an execution, in their order; no item has two. And those that are open.
CREATE UNIQUE INDEX workflow_executions_children ON workflow_executions (tenant_id, parent_id, parent_node, item)
    WHERE parent_id IS NOT NULL;
CREATE INDEX workflow_executions_open_children ON workflow_executions (tenant_id, parent_id, parent_node)
    WHERE parent_id IS NOT NULL AND finished_at IS NULL;

CREATE UNIQUE INDEX workflow_executions_idempotency ON workflow_executions (tenant_id, workflow, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

-- The primary key is its only index and holds no column that an update changes, and every page keeps room: so
-- each of the two updates in a task's life stays on its page (HOT) and writes no index. One partial index on
-- `state` and none would.
-- A row is the record of the task's latest attempt; the attempts before it are in `task_attempts`.
CREATE TABLE task_executions (
    tenant_id    uuid     NOT NULL,
    execution_id uuid     NOT NULL,
    task         smallint NOT NULL,
    name         text     NOT NULL,
    state        cloacina.task_state NOT NULL,
    -- Dependencies that are not over.
    waiting_on   smallint NOT NULL,
    attempt      integer  NOT NULL DEFAULT 0,
    failures     integer  NOT NULL DEFAULT 0,
    lost         integer  NOT NULL DEFAULT 0,
    -- Who holds it, or held it last.
    runner_id    uuid,
    -- When it was or is due; with it the row in `ready_tasks` is found by its key.
    due_at       timestamptz,
    -- When the latest attempt was claimed.
    started_at   timestamptz,
    finished_at  timestamptz,
    patch        json,
    -- The error of the latest failed attempt.
    error        text,
    skip_reason  cloacina.skip_reason,
    -- Whether a completed task handled this one's failure.
    handled      boolean  NOT NULL DEFAULT false,
    -- How the latest attempt ended; NULL while it has not, and once the row is about the attempt to come.
    outcome      cloacina.attempt_outcome,
    PRIMARY KEY (tenant_id, execution_id, task)
) WITH (fillfactor = 70);

-- Work that anybody may claim: narrow, its rows live briefly, and its key is the order of the claim.
CREATE TABLE ready_tasks (
    tenant_id    uuid        NOT NULL,
    priority     smallint    NOT NULL CHECK (priority BETWEEN 0 AND 9),
    due_at       timestamptz NOT NULL,
    execution_id uuid        NOT NULL,
    task         smallint    NOT NULL CHECK (task >= 0),
    workflow     text        NOT NULL,
    fingerprint  bigint      NOT NULL,
    PRIMARY KEY (tenant_id, priority, due_at, execution_id, task)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 0.5);

-- What a claim looks at where nothing near the front is for anybody here: it never walks the rows of versions
-- that nobody has.
CREATE INDEX ready_tasks_version ON ready_tasks (tenant_id, fingerprint, workflow, priority, due_at);

-- What the engine itself has to do at a time, to or with a subject. The kinds are numbered in the code; 0 is
-- the deadline of an execution, 1 a wait of one, 2 a look at a schedule, 3 a look at the children of an
-- execution, 4 the sweep of those that are open. The cause tells apart two rows about one subject at one
-- time. All columns are its key, in the order in which rows are taken. An execution without a deadline
-- touches this table in no statement.
--
-- A tenant's own login writes here too: a time is one that can be waited for, and of few kinds the earliest
-- is found at once, however many rows there are.
CREATE TABLE due_rows (
    tenant_id uuid        NOT NULL,
    kind      smallint    NOT NULL CHECK (kind BETWEEN 0 AND 15),
    due_at    timestamptz NOT NULL CHECK (due_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    subject   uuid        NOT NULL,
    cause     text        NOT NULL CHECK (octet_length(cause) <= 200),
    PRIMARY KEY (tenant_id, kind, due_at, subject, cause)
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0);

-- What starts executions by itself. What a schedule says and how far it is are JSON that the engine reads;
-- the other columns are what statements need, and what people look for. Whoever changes a schedule has locked
-- its row. Its due row, of kind 2 and without a cause, is due at `due_at`.
--
-- A tenant's own login writes here too: what is read is bounded, and what cannot be used pauses the schedule.
CREATE TABLE schedules (
    tenant_id      uuid        NOT NULL,
    id             uuid        NOT NULL,
    name           text        NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 200),
    -- Who put it together with others.
    origin         text        CHECK (octet_length(origin) BETWEEN 1 AND 200),
    state          text        NOT NULL CHECK (state IN ('active', 'paused', 'done', 'broken')),
    reason         text        CHECK (octet_length(reason) <= 4000),
    version        integer     NOT NULL,
    -- Up to which time it has fired.
    cursor_at      timestamptz NOT NULL CHECK (cursor_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    due_at         timestamptz CHECK (due_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    last_execution uuid,
    -- What its backfill started and had not seen end.
    backfilling    uuid[]      NOT NULL CHECK (cardinality(backfilling) <= 1000),
    updated_at     timestamptz NOT NULL,
    spec           json        NOT NULL CHECK (octet_length(spec::text) <= 2097152),
    progress       json        NOT NULL CHECK (octet_length(progress::text) <= 262144),
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, name)
) WITH (fillfactor = 70);

-- What came of the times at which schedules fire: the newest thousand of each, and some more.
CREATE TABLE schedule_fires (
    tenant_id    uuid        NOT NULL,
    schedule_id  uuid        NOT NULL,
    nominal_at   timestamptz NOT NULL CHECK (nominal_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    outcome      text        NOT NULL
                 CHECK (outcome IN ('started', 'repeated', 'skipped', 'missed', 'buffered', 'dropped', 'refused')),
    execution_id uuid,
    -- How many other times it stands for.
    missed       integer     NOT NULL CHECK (missed >= 0),
    fired_at     timestamptz NOT NULL CHECK (fired_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    PRIMARY KEY (tenant_id, schedule_id, nominal_at)
);

-- What a node waits for that has begun to wait, as long as it does. When it is to be looked at says its row
-- in `task_executions`, and with it its due row.
CREATE TABLE task_waits (
    tenant_id    uuid        NOT NULL,
    execution_id uuid        NOT NULL,
    task         smallint    NOT NULL CHECK (task >= 0),
    -- The name of the signal; it sleeps if there is none.
    signal       text        CHECK (octet_length(signal) <= 200),
    -- When its time is over. The year 9000 is never.
    until        timestamptz NOT NULL CHECK (until BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00'),
    -- The question that it puts.
    ask          json        CHECK (octet_length(ask::text) <= 65536),
    PRIMARY KEY (tenant_id, execution_id, task)
);

-- How far a node is that waits, or waited, for children. It stays with its execution.
CREATE TABLE task_children (
    tenant_id    uuid     NOT NULL,
    execution_id uuid     NOT NULL,
    task         smallint NOT NULL CHECK (task >= 0),
    total        bigint   NOT NULL CHECK (total >= 0),
    -- -1 if nobody waits for them.
    parallel     bigint   NOT NULL CHECK (parallel >= -1),
    tolerated    bigint   NOT NULL CHECK (tolerated >= 0),
    started      bigint   NOT NULL DEFAULT 0 CHECK (started BETWEEN 0 AND 1000000000),
    completed    bigint   NOT NULL DEFAULT 0 CHECK (completed BETWEEN 0 AND 1000000000),
    failed       bigint   NOT NULL DEFAULT 0 CHECK (failed BETWEEN 0 AND 1000000000),
    -- Whether its children go on when it ends before them.
    abandons     boolean  NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, task)
) WITH (fillfactor = 50);

-- What is asked, without what only waits.
CREATE INDEX task_waits_asking ON task_waits (tenant_id, execution_id, task) WHERE ask IS NOT NULL;

-- The signals that came, by name in the order in which they came. They stay with their execution.
CREATE TABLE signals (
    tenant_id    uuid        NOT NULL,
    execution_id uuid        NOT NULL,
    name         text        NOT NULL CHECK (octet_length(name) <= 200),
    number       bigint      NOT NULL CHECK (number > 0),
    -- One of this key is recorded once.
    key          text        CHECK (octet_length(key) <= 200),
    payload      json        NOT NULL CHECK (octet_length(payload::text) <= 33554432),
    received_at  timestamptz NOT NULL,
    -- The wait that took it.
    taken_by     smallint,
    PRIMARY KEY (tenant_id, execution_id, name, number)
);

CREATE UNIQUE INDEX signals_key ON signals (tenant_id, execution_id, name, key) WHERE key IS NOT NULL;

-- What is looked for by a tag. Only executions that have any are here, with a row for each, until they are
-- deleted.
CREATE TABLE execution_tags (
    tenant_id    uuid NOT NULL,
    tag          text NOT NULL CHECK (octet_length(tag) BETWEEN 1 AND 64),
    execution_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, tag, execution_id)
);

-- What tasks emit, in pages. What an attempt left that did not complete goes with the next one that emits
-- anything, or with its execution.
CREATE TABLE task_pages (
    tenant_id    uuid     NOT NULL,
    execution_id uuid     NOT NULL,
    task         smallint NOT NULL CHECK (task >= 0),
    attempt      integer  NOT NULL CHECK (attempt > 0),
    name         text     NOT NULL CHECK (octet_length(name) <= 200),
    -- The number of its first item among all of this name.
    first        bigint   NOT NULL CHECK (first >= 0),
    -- A JSON array.
    items        json     NOT NULL CHECK (octet_length(items::text) <= 8388608),
    PRIMARY KEY (tenant_id, execution_id, task, attempt, name, first)
);

-- Attempts that are over and were followed by another one, or will be.
CREATE TABLE task_attempts (
    tenant_id    uuid        NOT NULL,
    execution_id uuid        NOT NULL,
    task         smallint    NOT NULL,
    attempt      integer     NOT NULL CHECK (attempt > 0),
    outcome      text        NOT NULL CHECK (outcome IN ('failed', 'panicked', 'timed_out', 'snoozed', 'lost', 'released')),
    error        text,
    runner_id    uuid        NOT NULL,
    started_at   timestamptz NOT NULL,
    finished_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, execution_id, task, attempt)
);

-- What people look at who look with SQL: no payloads, and nothing that they would have to know the tables
-- for. They are part of the interface (docs/guides/reference.md), as nothing else here is. Their twins in a
-- SQLite file have the same columns.
CREATE VIEW v_executions AS
SELECT
    tenant_id,
    id AS execution_id,
    workflow,
    lpad(to_hex(fingerprint), 16, '0') AS version,
    state::text AS state,
    priority,
    created_at,
    started_at,
    finished_at,
    extract(epoch FROM finished_at - started_at)::double precision AS seconds,
    deadline,
    idempotency_key,
    tags,
    submitted_by,
    (SELECT name FROM schedules WHERE schedules.tenant_id = workflow_executions.tenant_id AND schedules.id = schedule_id)
        AS schedule,
    parent_id,
    item,
    rerun_of,
    superseded_by,
    on_failure,
    error
FROM workflow_executions;

CREATE VIEW v_tasks AS
SELECT
    task_executions.tenant_id,
    task_executions.execution_id,
    workflow,
    task_executions.task AS position,
    task_executions.name AS task,
    task_executions.state::text AS state,
    attempt AS attempts,
    failures,
    lost,
    task_executions.due_at,
    task_executions.started_at,
    task_executions.finished_at,
    extract(epoch FROM task_executions.finished_at - task_executions.started_at)::double precision AS seconds,
    outcome::text AS outcome,
    task_executions.error,
    skip_reason::text AS skip_reason,
    handled,
    runner_id,
    signal AS waits_for,
    -- The year 9000 is never.
    CASE WHEN until < '9000-01-01 00:00:00+00' THEN until END AS waits_until
FROM task_executions
LEFT JOIN task_waits USING (tenant_id, execution_id, task)
JOIN workflow_executions ON workflow_executions.tenant_id = task_executions.tenant_id
    AND workflow_executions.id = task_executions.execution_id;

-- Where the server can, they read with the rights of whoever asks, so that row security holds for them.
-- Version 14 cannot: there they read with the owner's, and are granted only to those who may read all that is
-- in them.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW v_executions SET (security_invoker = true);
        ALTER VIEW v_tasks SET (security_invoker = true);
    END IF;
END
$$;
