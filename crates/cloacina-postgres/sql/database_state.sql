-- What is there of a tenant's database, if anything.
SELECT datallowconn AS reachable, pg_get_userbyid(datdba) = 'cloacina_owner' AS ours
FROM pg_database WHERE datname = $1::text
