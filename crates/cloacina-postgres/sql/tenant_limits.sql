-- Sets a tenant's limits, and tells every process to look.
WITH changed AS (
    UPDATE cloacina.tenant SET
        max_concurrent_tasks = $2::integer, max_queue_length = $3::integer, max_context_bytes = $4::integer,
        max_connections = $5::integer, statement_timeout_ms = $6::bigint, transaction_timeout_ms = $7::bigint,
        max_waiting = $8::integer
    WHERE tenant_id = $1::uuid
    RETURNING tenant_id
)
INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
SELECT tenant_id, '00000000-0000-0000-0000-000000000000', now() FROM changed
