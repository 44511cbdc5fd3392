-- Deletes what was noted of a schedule before its newest times.
DELETE FROM schedule_fires
WHERE tenant_id = ?1 AND schedule_id = ?2 AND nominal_at <= (
    SELECT nominal_at FROM schedule_fires
    WHERE tenant_id = ?1 AND schedule_id = ?2
    ORDER BY nominal_at DESC LIMIT 1 OFFSET ?3
)
