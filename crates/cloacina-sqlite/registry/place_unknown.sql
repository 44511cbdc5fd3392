DELETE FROM place_contents WHERE id = ?1
