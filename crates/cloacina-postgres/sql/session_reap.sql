-- Ends the sessions of tenants' logins that are over their time. Their times are seen by a member of their
-- roles.
SELECT login.role_name, pg_terminate_backend(session.pid)
FROM pg_stat_activity AS session
JOIN cloacina.login ON login.role_oid = session.usesysid
JOIN cloacina.tenant ON tenant.tenant_id = login.tenant_id
WHERE now() - session.xact_start > coalesce(tenant.transaction_timeout_ms, $1::bigint) * interval '1 millisecond'
   OR session.state = 'active'
  AND now() - session.query_start > coalesce(tenant.statement_timeout_ms, $2::bigint) * interval '1 millisecond'
