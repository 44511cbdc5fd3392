SELECT state, max_concurrent_tasks, max_queue_length, max_waiting, max_context_bytes, true AS has_login
FROM cloacina.me() WHERE tenant_id = $1::uuid
