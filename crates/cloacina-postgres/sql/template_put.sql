-- Keeps the schedules that all tenants have of an origin, or without any forgets them.
WITH put AS (
    INSERT INTO cloacina.schedule_template (origin, schedules, changed_at)
    SELECT $1::text, $2::text::json, coalesce($3::timestamptz, now()) WHERE $2 <> '[]'
    ON CONFLICT (origin) DO UPDATE SET schedules = excluded.schedules, changed_at = excluded.changed_at
),
gone AS (DELETE FROM cloacina.schedule_template WHERE origin = $1 AND $2 = '[]')
SELECT NULL::uuid AS tenant_id
