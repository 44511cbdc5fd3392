UPDATE task_children SET parallel = ?4
WHERE tenant_id = ?1 AND execution_id = ?2 AND task = (
    SELECT task FROM task_executions
    WHERE tenant_id = ?1 AND execution_id = ?2 AND name = ?3 AND state = 'waiting'
    LIMIT 1
)
