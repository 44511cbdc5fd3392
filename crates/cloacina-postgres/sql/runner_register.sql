INSERT INTO cloacina.runner (id, lease_ms, host, pid, started, workflows, fingerprints, heartbeat_at, host_name)
VALUES ($1::uuid, $2::bigint, $3::text, $4::integer, $5::bigint, $6::text[], $7::bigint[], coalesce($8::timestamptz, now()), $9::text)
ON CONFLICT (id) DO NOTHING
