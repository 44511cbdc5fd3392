SELECT origin, schedules::text AS schedules FROM cloacina.schedule_template ORDER BY origin COLLATE "C"
