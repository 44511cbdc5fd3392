INSERT INTO schedules (
    tenant_id, id, name, origin, state, reason, version, cursor_at, due_at, last_execution, updated_at, spec, progress, backfilling
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
ON CONFLICT (tenant_id, id) DO UPDATE SET
    origin = excluded.origin, state = excluded.state, reason = excluded.reason, version = excluded.version,
    cursor_at = excluded.cursor_at, due_at = excluded.due_at, last_execution = excluded.last_execution,
    updated_at = excluded.updated_at, spec = excluded.spec, progress = excluded.progress,
    backfilling = excluded.backfilling
