-- Nothing is counted where the counters are not those that were read.
UPDATE task_children SET started = ?10, completed = ?11, failed = ?12
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3
  AND total = ?4 AND parallel = ?5 AND tolerated = ?6 AND started = ?7 AND completed = ?8 AND failed = ?9
  AND EXISTS (
    SELECT 1 FROM task_executions WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3 AND state = 'waiting'
  )
