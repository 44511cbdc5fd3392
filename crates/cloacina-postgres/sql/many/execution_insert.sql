-- `execution_insert`, for places whose rows lie in the same tables.
INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, started_at, deadline,
                                 idempotency_key, input_hash, submitter, expands_at)
SELECT new.tenant_id, new.id, new.workflow, new.fingerprint,
       CASE WHEN new.claimed THEN 'running' ELSE 'pending' END,
       new.priority, new.input::json, clock.now,
       CASE WHEN new.claimed THEN clock.now END,
       new.deadline, new.idempotency_key, new.input_hash, new.submitter,
       CASE WHEN new.fingerprint = 0 THEN greatest(new.start_at, clock.now) END
FROM (SELECT coalesce($2::timestamptz, now()) AS now) AS clock,
     unnest($1::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::smallint[], $7::text[], $8::timestamptz[], $9::text[], $10::bigint[],
            $11::boolean[], $12::uuid[], $13::timestamptz[])
         AS new (tenant_id, id, workflow, fingerprint, priority, input, deadline, idempotency_key, input_hash, claimed,
                 submitter, start_at)
ON CONFLICT DO NOTHING
RETURNING tenant_id, id
