-- The tenants' logins that have a session now, in whichever database of the server.
SELECT DISTINCT login.role_name
FROM pg_stat_activity AS session JOIN cloacina.login ON login.role_oid = session.usesysid
