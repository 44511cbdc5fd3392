-- The tenants' logins with a session that this login's own sessions wait for.
SELECT DISTINCT login.role_name
FROM pg_stat_activity AS waiter
CROSS JOIN LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocker (pid)
JOIN pg_stat_activity AS session ON session.pid = blocker.pid
JOIN cloacina.login ON login.role_oid = session.usesysid
WHERE waiter.usename = session_user
