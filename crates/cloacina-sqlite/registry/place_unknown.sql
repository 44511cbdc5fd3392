DELETE FROM place_holds WHERE id = ?1
