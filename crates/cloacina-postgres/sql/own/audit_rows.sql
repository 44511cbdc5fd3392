SELECT id, at, actor, role, action, coalesce(tenant_id::text, '') AS chain, NULL::text AS tenant, schema_name, object, reason, detail, login, position, seal
FROM cloacina.my_audit_list($3::bigint, $4::bigint)
WHERE $1::uuid IS NOT NULL AND ($2::text IS NULL OR true)
