-- If they differ from the ones before, the tenants are to be given them.
INSERT INTO schedule_template (origin, schedules, rolled_out) VALUES (?1, ?2, CASE WHEN ?2 <> '[]' THEN '' END)
ON CONFLICT (origin) DO UPDATE SET schedules = excluded.schedules, version = version + 1, rolled_out = '', taken_till = 0
WHERE schedules <> excluded.schedules
