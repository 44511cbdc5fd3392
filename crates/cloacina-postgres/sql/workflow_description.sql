-- As the operator's processes describe it, or else the tenant's own.
SELECT CASE WHEN octet_length(description) <= $4::bigint THEN description END AS description
FROM cloacina.workflow
WHERE tenant_id IN ('00000000-0000-0000-0000-000000000000', $1::uuid) AND name = $2::text AND fingerprint = $3::bigint
ORDER BY tenant_id = $1 LIMIT 1
