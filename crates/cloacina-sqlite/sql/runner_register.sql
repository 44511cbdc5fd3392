INSERT INTO cloacina_runner (id, state, beat, lease_us, host, pid, process_started, registered_at, beat_at, workflows, host_name)
VALUES (?1, 'live', 0, ?2, ?3, ?4, ?5, ?6, ?6, ?7, ?8)
ON CONFLICT DO NOTHING
