SELECT id, state, beat, lease_us, host, pid, process_started, workflows, host_name FROM cloacina_runner ORDER BY id
