SELECT origin, schedules::text AS schedules FROM cloacina.schedule_template WHERE schedules::text <> '[]'
ORDER BY origin COLLATE "C"
