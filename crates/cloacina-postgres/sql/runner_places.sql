-- Where a runner may hold claims. A place that the registry does not know any more has no schema to look in.
SELECT runner_place.tenant_id, CASE tenant.placement WHEN 'shared' THEN tenant.name ELSE tenant.schema_name END AS name,
       coalesce(tenant.placement = 'shared', false) AS shared
FROM cloacina.runner_place
LEFT JOIN cloacina.tenant ON tenant.tenant_id = runner_place.tenant_id AND tenant.state <> 'removed'
WHERE runner_place.runner_id = $1::uuid
ORDER BY runner_place.tenant_id
