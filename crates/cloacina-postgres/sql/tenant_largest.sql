-- The tenants with the largest tables, as they were when an administrator measured them last.
SELECT name, size_bytes FROM cloacina.tenant
WHERE state <> 'removed' AND placement <> 'host' AND size_bytes IS NOT NULL
ORDER BY size_bytes DESC, name LIMIT $1::bigint
