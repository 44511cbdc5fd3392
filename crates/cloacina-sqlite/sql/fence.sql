SELECT state = 'live' FROM cloacina_runner WHERE id = ?1
