SELECT tenant_id, name, schema_name, placement, state, epoch,
       CASE placement WHEN 'shared' THEN (SELECT schema_version FROM cloacina.tenant WHERE placement = 'host') ELSE schema_version END AS schema_version, created_at, removed_at, size_bytes, last_activity_at, measured_at,
       max_concurrent_tasks, max_queue_length, max_waiting, max_context_bytes, max_connections, statement_timeout_ms, transaction_timeout_ms,
       ARRAY(SELECT role_name FROM cloacina.login WHERE login.tenant_id = tenant.tenant_id ORDER BY created_at) AS logins
FROM cloacina.tenant AS tenant
WHERE state <> 'removed' AND placement <> 'host'
  AND (cardinality($1::text[]) = 0 OR schema_name = ANY ($1) OR placement IN ('shared', 'database') AND name = ANY ($1))
ORDER BY schema_name, name
