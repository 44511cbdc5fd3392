-- Makes executions that are locked already those of a version; their tasks come in the next statement.
-- Several tenants share tables. On the ctids see `task_record`.
UPDATE workflow_executions AS execution SET
    fingerprint = new.fingerprint, expands_at = NULL, on_failure = coalesce(execution.on_failure, new.on_failure)
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[]) AS new (tenant_id, id, fingerprint, on_failure)
CROSS JOIN LATERAL (
    SELECT ctid FROM workflow_executions AS locked
    WHERE locked.tenant_id = new.tenant_id AND locked.id = new.id AND locked.expands_at IS NOT NULL
    OFFSET 0
) AS locked
WHERE execution.ctid = locked.ctid
