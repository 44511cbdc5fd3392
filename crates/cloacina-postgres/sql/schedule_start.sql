-- Records executions of schedules, as ones that were submitted by name: whoever has the workflow gives them
-- their tasks. One that meets its key was started before, and is left out.
INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at,
                                 idempotency_key, input_hash, expands_at, schedule_id)
SELECT $1::uuid, new.id, new.workflow, 0, 'pending', new.priority, new.input::json, clock.now,
       new.key, 0, clock.now, new.schedule_id
FROM (SELECT coalesce($2::timestamptz, now()) AS now) AS clock,
     unnest($3::uuid[], $4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::text[])
         AS new (id, schedule_id, workflow, priority, input, key)
ON CONFLICT DO NOTHING
RETURNING id
