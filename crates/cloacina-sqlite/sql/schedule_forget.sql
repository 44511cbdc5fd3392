-- What was noted of a schedule that is deleted.
DELETE FROM schedule_fires WHERE tenant_id = ?1 AND schedule_id = ?2
