SELECT id, at, actor, role, action, tenant, object, reason, detail, position, seal
FROM cloacina_audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2
