-- `bell_lock`, for places whose rows lie in the same tables.
SELECT doorbell.tenant_id
FROM unnest($1::uuid[]) AS wanted (tenant_id)
CROSS JOIN LATERAL (
    SELECT tenant_id FROM cloacina.doorbell WHERE tenant_id = wanted.tenant_id
    OFFSET 0
    FOR UPDATE SKIP LOCKED
) AS doorbell
