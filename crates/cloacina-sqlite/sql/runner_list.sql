SELECT id, state, beat, lease_us, host, pid, process_started, workflows FROM cloacina_runner ORDER BY id
