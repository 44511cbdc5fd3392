-- The number of the next row, which no row had before.
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'cloacina_audit'), 0) + 1
