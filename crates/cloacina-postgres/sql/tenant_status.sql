-- What the operator decided about a tenant.
SELECT state, max_concurrent_tasks, max_queue_length, max_waiting, max_context_bytes,
       EXISTS (SELECT FROM cloacina.login WHERE login.tenant_id = $1::uuid) AS has_login
FROM cloacina.tenant WHERE tenant_id = $1
