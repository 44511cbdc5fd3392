-- Deletes what was noted of schedules before their newest times.
DELETE FROM schedule_fires AS fire
USING unnest($2::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT nominal_at FROM schedule_fires AS newest
    WHERE newest.tenant_id = $1::uuid AND newest.schedule_id = wanted.id
    ORDER BY nominal_at DESC
    OFFSET $3::bigint LIMIT 1
) AS oldest
WHERE fire.tenant_id = $1 AND fire.schedule_id = wanted.id AND fire.nominal_at <= oldest.nominal_at
