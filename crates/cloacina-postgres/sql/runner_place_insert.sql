-- Notes that a runner may hold claims in a place, before its first one there.
INSERT INTO cloacina.runner_place (runner_id, tenant_id) VALUES ($1::uuid, $2::uuid) ON CONFLICT DO NOTHING
