-- `bell_lower`, for places whose rows lie in the same tables.
UPDATE cloacina.doorbell AS doorbell SET due_at = next.due_at
FROM unnest($1::uuid[], $2::timestamptz[]) AS next (tenant_id, due_at)
WHERE doorbell.tenant_id = next.tenant_id AND doorbell.due_at IS DISTINCT FROM next.due_at
