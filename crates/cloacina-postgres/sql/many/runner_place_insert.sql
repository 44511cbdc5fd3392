-- `runner_place_insert`, for several places.
INSERT INTO cloacina.runner_place (runner_id, tenant_id) SELECT $1::uuid, unnest($2::uuid[]) ON CONFLICT DO NOTHING
