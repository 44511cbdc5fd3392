-- Deletes schedules with all that was noted of them.
WITH wanted AS MATERIALIZED (SELECT * FROM unnest($1::uuid[], $2::uuid[]) AS wanted (tenant_id, id)),
gone AS (
    DELETE FROM schedules AS schedule USING wanted
    WHERE schedule.tenant_id = wanted.tenant_id AND schedule.id = wanted.id
)
DELETE FROM schedule_fires AS fire USING wanted
WHERE fire.tenant_id = wanted.tenant_id AND fire.schedule_id = wanted.id
