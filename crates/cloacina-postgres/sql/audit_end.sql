-- The new ends of chains.
INSERT INTO cloacina.audit_chain (tenant_id, position, seal)
SELECT tenant_id, position, seal FROM unnest($1::uuid[], $2::bigint[], $3::bytea[]) AS new (tenant_id, position, seal)
ON CONFLICT (tenant_id) DO UPDATE SET position = excluded.position, seal = excluded.seal
