-- The tenants' logins that have a session now.
SELECT DISTINCT login.role_name
FROM pg_stat_activity AS session JOIN cloacina.login ON login.role_oid = session.usesysid
WHERE session.datname = current_database()
