-- The page that has an item, and the next one. Its size is bounded by a CHECK.
SELECT first, items FROM task_pages
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND attempt = ?4 AND name = ?5
  AND first >= (
    SELECT max(first) FROM task_pages
    WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND attempt = ?4 AND name = ?5 AND first <= ?6
  )
ORDER BY first
LIMIT 2
