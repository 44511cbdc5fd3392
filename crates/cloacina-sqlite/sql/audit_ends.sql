SELECT tenant, position, seal FROM cloacina_audit_chain WHERE ?1 IS NULL OR tenant = ?1
