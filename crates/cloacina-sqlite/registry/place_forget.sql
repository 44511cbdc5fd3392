DELETE FROM place WHERE id = ?1
