INSERT INTO schedule_template (origin, schedules) VALUES (?1, ?2)
ON CONFLICT (origin) DO UPDATE SET schedules = excluded.schedules
