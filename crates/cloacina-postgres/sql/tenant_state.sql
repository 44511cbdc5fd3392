-- Changes a tenant's state, and tells every process to look.
WITH changed AS (
    UPDATE cloacina.tenant SET state = $3::text, removed_at = CASE WHEN $3 = 'removed' THEN now() END
    WHERE tenant_id = $1::uuid AND state = ANY ($2::text[])
    RETURNING tenant_id
)
INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
SELECT tenant_id, '00000000-0000-0000-0000-000000000000', now() FROM changed
RETURNING tenant_id
