SELECT id, due_at FROM place WHERE due_at <= ?1
UNION
SELECT place.id, 0 FROM holder JOIN place ON place.id = holder.place WHERE holder.is_open = 1
