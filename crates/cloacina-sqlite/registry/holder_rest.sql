UPDATE holder SET is_open = 0 WHERE number = ?1
