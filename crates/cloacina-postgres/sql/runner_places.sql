-- Where a runner may hold claims. A place that the registry does not know any more has no schema to look in.
SELECT runner_place.tenant_id, tenant.name, tenant.schema_name, tenant.epoch, coalesce(tenant.placement = 'shared', false) AS shared,
       EXISTS (SELECT FROM cloacina.login WHERE login.tenant_id = runner_place.tenant_id) AS has_login
FROM cloacina.runner_place
LEFT JOIN cloacina.tenant ON tenant.tenant_id = runner_place.tenant_id AND tenant.state <> 'removed'
WHERE runner_place.runner_id = $1::uuid
ORDER BY runner_place.tenant_id
