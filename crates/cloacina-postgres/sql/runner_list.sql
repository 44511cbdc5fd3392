SELECT id, tenant_id, state, beat, lease_ms, host, pid, started, host_name, workflows, fingerprints FROM cloacina.runner ORDER BY id
