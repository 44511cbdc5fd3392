-- Makes executions that are locked already those of a version; their tasks come in the next statement. On the
-- ctids see `task_record`.
UPDATE workflow_executions AS execution SET
    fingerprint = new.fingerprint, expands_at = NULL, on_failure = coalesce(execution.on_failure, new.on_failure)
FROM unnest($2::uuid[], $3::bigint[], $4::text[]) AS new (id, fingerprint, on_failure)
CROSS JOIN LATERAL (
    SELECT ctid FROM workflow_executions AS locked
    WHERE locked.tenant_id = $1::uuid AND locked.id = new.id AND locked.expands_at IS NOT NULL
    OFFSET 0
) AS locked
WHERE execution.ctid = locked.ctid
