-- Keeps the schedules that all tenants have of an origin. If they differ from the ones before, the tenants
-- are to be given them.
INSERT INTO cloacina.schedule_template AS template (origin, schedules, changed_at, rolled_out)
SELECT $1::text, $2::text::json, coalesce($3::timestamptz, now()), CASE WHEN $2 <> '[]' THEN '' END
ON CONFLICT (origin) DO UPDATE SET
    schedules = excluded.schedules, changed_at = excluded.changed_at, version = template.version + 1, rolled_out = '', taken_till = '-infinity'
    WHERE template.schedules::text <> excluded.schedules::text
RETURNING NULL::uuid AS tenant_id
