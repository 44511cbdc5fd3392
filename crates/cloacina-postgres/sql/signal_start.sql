-- Records the execution that a signal starts, as one that was submitted by name, unless there is one of this
-- key. One that somebody records at the same time is waited for; the statements after this one see it.
INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at,
                                 idempotency_key, input_hash, expands_at)
SELECT $1::uuid, $2::uuid, $3::text, 0, 'pending', $8::smallint, $5::text::json, clock.now, $4::text, $6::bigint, clock.now
FROM (SELECT coalesce($7::timestamptz, now()) AS now) AS clock
ON CONFLICT DO NOTHING
RETURNING id
