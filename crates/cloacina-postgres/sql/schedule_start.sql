-- Records executions of schedules, as ones that were submitted by name, with their ready rows: whoever has
-- the workflow gives them their tasks. One that meets its key was started before, and is left out: it is over
-- before it began, so its schedule is looked at again now, as after any end.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now),
new AS MATERIALIZED (
    SELECT *
    FROM unnest($1::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::text[], $9::text[])
             AS new (tenant_id, id, schedule_id, workflow, priority, input, key, on_failure)
),
started AS (
    INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at,
                                     idempotency_key, input_hash, expands_at, schedule_id, on_failure)
    SELECT new.tenant_id, new.id, new.workflow, 0, 'pending', new.priority, new.input::json, clock.now,
           new.key, 0, clock.now, new.schedule_id, new.on_failure
    FROM clock, new
    ON CONFLICT DO NOTHING
    RETURNING tenant_id, id, workflow, priority, expands_at
),
ready AS (
    INSERT INTO ready_tasks (tenant_id, priority, due_at, execution_id, task, workflow, fingerprint)
    SELECT tenant_id, priority, expands_at, id, 0, workflow, 0 FROM started
    ON CONFLICT DO NOTHING
),
met AS (
    INSERT INTO due_rows (tenant_id, kind, due_at, subject, cause)
    SELECT new.tenant_id, 2, clock.now, new.schedule_id, new.id::text
    FROM clock, new
    WHERE NOT EXISTS (SELECT FROM started WHERE started.id = new.id)
    ON CONFLICT DO NOTHING
)
SELECT tenant_id, id FROM started
