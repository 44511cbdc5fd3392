-- The tasks of reruns that are over from the beginning. This execution did not try them.
INSERT INTO task_executions (tenant_id, execution_id, task, name, state, waiting_on, started_at, finished_at, patch, skip_reason, outcome)
SELECT $1::uuid, new.execution_id, new.task, new.name,
       CASE WHEN new.skip_reason IS NULL THEN 'completed' ELSE 'skipped' END,
       0, new.started_at, new.finished_at, new.patch::json, new.skip_reason,
       CASE WHEN new.skip_reason IS NULL THEN 'completed' END
FROM unnest($2::uuid[], $3::smallint[], $4::text[], $5::timestamptz[], $6::timestamptz[], $7::text[], $8::text[])
         AS new (execution_id, task, name, started_at, finished_at, patch, skip_reason)
ON CONFLICT DO NOTHING
