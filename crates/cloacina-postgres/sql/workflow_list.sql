-- What can run in a tenant's place: the operator's workflows and those of the tenant's own processes.
SELECT name, fingerprint, min(version) AS version, min(first_seen) AS first_seen
FROM cloacina.workflow WHERE tenant_id IN ('00000000-0000-0000-0000-000000000000', $1::uuid)
GROUP BY name, fingerprint ORDER BY name, first_seen DESC, fingerprint LIMIT $2::bigint
