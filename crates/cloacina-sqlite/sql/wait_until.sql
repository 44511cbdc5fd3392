UPDATE task_waits SET until = ?4 WHERE tenant_id = ?1 AND execution_id = ?2 AND task = ?3
