-- What sessions of these roles have prepared to be committed, and have left; for NULL those of all tenants
-- that are over their time.
SELECT format('ROLLBACK PREPARED %L;', gid) AS statement, database::text AS database, database = current_database() AS is_here
FROM pg_prepared_xacts
JOIN cloacina.login ON login.role_name = owner
JOIN cloacina.tenant ON tenant.tenant_id = login.tenant_id
WHERE CASE WHEN $1::text[] IS NULL THEN prepared < now() - coalesce(tenant.transaction_timeout_ms, $2::bigint) * interval '1 millisecond'
      ELSE owner = ANY ($1) END
ORDER BY prepared
