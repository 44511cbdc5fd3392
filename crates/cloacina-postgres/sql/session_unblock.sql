-- Ends those of these roles' sessions that this login's own sessions wait for. Needs to be a member of the
-- roles at this moment.
SELECT session.usename::text AS role_name, pg_terminate_backend(session.pid)
FROM (
    SELECT DISTINCT blocker.pid FROM pg_stat_activity AS waiter CROSS JOIN LATERAL unnest(pg_blocking_pids(waiter.pid)) AS blocker (pid)
    WHERE waiter.usename = session_user
) AS blocker
JOIN pg_stat_activity AS session ON session.pid = blocker.pid
WHERE session.usename = ANY ($1::text[])
