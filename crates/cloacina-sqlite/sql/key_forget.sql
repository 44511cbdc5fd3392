-- The keys of a tenant that is gone.
DELETE FROM cloacina_key WHERE tenant = ?1
