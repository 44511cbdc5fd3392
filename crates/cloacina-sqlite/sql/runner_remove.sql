DELETE FROM cloacina_runner WHERE id = ?1
