-- What has to hold between the columns of a place, for one in which others than the engine may write. The
-- server reads these conditions with every statement that writes to the tables; a place of the engine alone
-- goes without them.
ALTER TABLE workflow_executions
    ADD CHECK (priority BETWEEN 0 AND 9),
    ADD CHECK ((state IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    ADD CHECK (state NOT IN ('running', 'waiting', 'completed', 'failed') OR started_at IS NOT NULL),
    ADD CHECK ((idempotency_key IS NULL) = (input_hash IS NULL)),
    ADD CHECK (parent_node >= 0 AND item >= 0),
    ADD CHECK ((parent_id IS NULL) = (parent_node IS NULL) AND (parent_id IS NULL) = (item IS NULL)),
    ADD CHECK (expands_at IS NULL OR (fingerprint = 0 AND started_at IS NULL)),
    ADD CHECK (expands_at BETWEEN '1970-01-01 00:00:00+00' AND '9999-01-01 00:00:00+00');
ALTER TABLE task_executions
    ADD CHECK (task >= 0),
    ADD CHECK (waiting_on >= 0),
    ADD CHECK (attempt >= 0),
    ADD CHECK (failures >= 0),
    ADD CHECK (lost >= 0),
    ADD CHECK ((state IN ('completed', 'failed', 'skipped', 'cancelled')) = (finished_at IS NOT NULL)),
    ADD CHECK (state <> 'running' OR (runner_id IS NOT NULL AND started_at IS NOT NULL AND attempt > 0)),
    ADD CHECK (state NOT IN ('ready', 'waiting') OR due_at IS NOT NULL),
    ADD CHECK (state <> 'waiting' OR started_at IS NOT NULL),
    ADD CHECK ((state = 'pending') = (waiting_on > 0) OR state = 'cancelled'),
    ADD CHECK ((state = 'skipped') = (skip_reason IS NOT NULL)),
    ADD CHECK (outcome IS NULL OR state IN ('completed', 'failed', 'cancelled')),
    ADD CHECK (NOT handled OR state = 'failed');
