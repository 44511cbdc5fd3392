-- New children, as `execution_insert`: whose they are, of which node, and their numbers there.
INSERT INTO workflow_executions (tenant_id, id, workflow, fingerprint, state, priority, input, created_at, deadline, expands_at,
                                 parent_id, parent_node, item)
SELECT $1::uuid, new.id, new.workflow, new.fingerprint, 'pending', new.priority, new.input::json, clock.now, new.deadline,
       CASE WHEN new.fingerprint = 0 THEN clock.now END, new.parent_id, new.parent_node, new.item
FROM (SELECT coalesce($2::timestamptz, now()) AS now) AS clock,
     unnest($3::uuid[], $4::text[], $5::bigint[], $6::smallint[], $7::text[], $8::timestamptz[], $9::uuid[], $10::smallint[], $11::bigint[])
         AS new (id, workflow, fingerprint, priority, input, deadline, parent_id, parent_node, item)
ON CONFLICT DO NOTHING
