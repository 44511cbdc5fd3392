-- What a tenant does in `cloacina`, but not who it is.
WITH bell AS (DELETE FROM cloacina.doorbell WHERE tenant_id = $1::uuid),
kept AS (DELETE FROM cloacina.retention WHERE tenant_id = $1),
used AS (DELETE FROM cloacina.quota WHERE tenant_id = $1),
described AS (DELETE FROM cloacina.workflow WHERE tenant_id = $1),
keys AS (DELETE FROM cloacina.api_key WHERE tenant_id = $1),
held AS (DELETE FROM cloacina.runner_place WHERE tenant_id = $1)
DELETE FROM cloacina.runner WHERE tenant_id = $1
