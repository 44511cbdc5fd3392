INSERT INTO cloacina_audit_chain (tenant, position, seal) VALUES (?1, ?2, ?3)
ON CONFLICT (tenant) DO UPDATE SET position = excluded.position, seal = excluded.seal
