SELECT id, at, actor, role, action, tenant, object, reason, detail, position, seal
FROM cloacina_audit
WHERE (tenant, position) > (?1, ?2) AND (?4 IS NULL OR tenant = ?4)
ORDER BY tenant, position LIMIT ?3
