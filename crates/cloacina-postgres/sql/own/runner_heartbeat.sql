SELECT beat FROM cloacina.my_runner_heartbeat($1::uuid, $2::text[], $3::bigint[], $4::timestamptz) AS beat
