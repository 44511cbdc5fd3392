DELETE FROM cloacina.runner_place WHERE runner_id = $1::uuid AND tenant_id = $2::uuid
