-- Writes schedules, new or locked already.
INSERT INTO schedules (tenant_id, id, name, origin, state, reason, version, cursor_at, due_at, last_execution, backfilling, updated_at, spec, progress)
SELECT new.tenant_id, new.id, new.name, new.origin, new.state, new.reason, new.version, new.cursor_at, new.due_at, new.last_execution,
       new.backfilling::uuid[], coalesce($2::timestamptz, now()), new.spec::json, new.progress::json
FROM unnest($1::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::timestamptz[], $10::timestamptz[],
            $11::uuid[], $12::text[], $13::text[], $14::text[])
         AS new (tenant_id, id, name, origin, state, reason, version, cursor_at, due_at, last_execution, backfilling, spec, progress)
ON CONFLICT (tenant_id, id) DO UPDATE SET
    origin = excluded.origin, state = excluded.state, reason = excluded.reason, version = excluded.version,
    cursor_at = excluded.cursor_at, due_at = excluded.due_at, last_execution = excluded.last_execution,
    backfilling = excluded.backfilling,
    updated_at = excluded.updated_at, spec = excluded.spec, progress = excluded.progress
