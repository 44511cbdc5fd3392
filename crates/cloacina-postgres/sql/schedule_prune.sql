-- Deletes what was noted of schedules before their newest times.
DELETE FROM schedule_fires AS fire
USING unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)
CROSS JOIN LATERAL (
    SELECT nominal_at FROM schedule_fires AS newest
    WHERE newest.tenant_id = wanted.tenant_id AND newest.schedule_id = wanted.id
    ORDER BY nominal_at DESC
    OFFSET $3::bigint LIMIT 1
) AS oldest
WHERE fire.tenant_id = wanted.tenant_id AND fire.schedule_id = wanted.id AND fire.nominal_at <= oldest.nominal_at
