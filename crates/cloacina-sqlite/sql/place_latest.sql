-- The latest time that a runner wrote to the file.
SELECT max(latest_at, coalesce((SELECT max(beat_at) FROM cloacina_runner), 0)) FROM cloacina_place
