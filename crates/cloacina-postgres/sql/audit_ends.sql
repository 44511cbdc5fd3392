SELECT tenant_id, position, seal FROM cloacina.audit_chain
WHERE ($1::uuid IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR tenant_id IN (SELECT tenant_id FROM cloacina.tenant WHERE name = $2))
