SELECT count(*) AS sessions FROM pg_stat_activity WHERE usename = ANY ($1::text[])
