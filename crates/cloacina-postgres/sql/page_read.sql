-- The page that has an item, and the next one. Its size is bounded by a CHECK.
SELECT first, items::text AS items FROM task_pages
WHERE tenant_id = $1::uuid AND execution_id = $2::uuid AND task = $3::smallint AND attempt = $4::integer AND name = $5::text
  AND first >= (
    SELECT max(first) FROM task_pages
    WHERE tenant_id = $1 AND execution_id = $2 AND task = $3 AND attempt = $4 AND name = $5 AND first <= $6::bigint
  )
ORDER BY first
LIMIT 2
