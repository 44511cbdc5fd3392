-- Needs to be a member of these roles at this moment.
SELECT count(pg_terminate_backend(pid)) AS sessions FROM pg_stat_activity WHERE usename = ANY ($1::text[])
