-- Everything in `cloacina` that belongs to a tenant, but the registry's row.
WITH bell AS (DELETE FROM cloacina.doorbell WHERE tenant_id = $1::uuid),
login AS (DELETE FROM cloacina.login WHERE tenant_id = $1),
kept AS (DELETE FROM cloacina.retention WHERE tenant_id = $1),
used AS (DELETE FROM cloacina.quota WHERE tenant_id = $1),
described AS (DELETE FROM cloacina.workflow WHERE tenant_id = $1),
keys AS (DELETE FROM cloacina.api_key WHERE tenant_id = $1),
held AS (DELETE FROM cloacina.runner_place WHERE tenant_id = $1)
DELETE FROM cloacina.runner WHERE tenant_id = $1
