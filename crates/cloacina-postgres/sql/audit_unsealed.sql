-- What is committed and not sealed, in the order in which it was written, each with the end of its chain.
SELECT audit.id, at, actor, role, action, coalesce(audit.tenant_id::text, '') AS chain, NULL::text AS tenant, schema_name, object, reason, detail, login,
       audit_chain.position, audit_chain.seal
FROM cloacina.audit
LEFT JOIN cloacina.audit_chain ON audit_chain.tenant_id = coalesce(audit.tenant_id, '00000000-0000-0000-0000-000000000000')
WHERE audit.position IS NULL ORDER BY audit.id LIMIT $1::bigint
