SELECT position, seal FROM cloacina_audit_chain WHERE tenant = ?1
