-- What sessions of these roles have prepared to be committed, and have left.
SELECT format('ROLLBACK PREPARED %L;', gid) AS statement, database::text AS database, database = current_database() AS is_here
FROM pg_prepared_xacts WHERE owner = ANY ($1::text[])
ORDER BY prepared
