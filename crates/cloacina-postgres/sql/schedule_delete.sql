-- Deletes schedules with all that was noted of them.
WITH gone AS (
    DELETE FROM schedules AS schedule WHERE schedule.tenant_id = $1::uuid AND schedule.id = ANY ($2::uuid[])
)
DELETE FROM schedule_fires AS fire WHERE fire.tenant_id = $1 AND fire.schedule_id = ANY ($2)
