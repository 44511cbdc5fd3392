INSERT INTO cloacina_audit (id, at, actor, role, action, tenant, object, reason, detail, position, seal)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
