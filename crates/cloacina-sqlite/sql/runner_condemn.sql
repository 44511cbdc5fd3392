UPDATE cloacina_runner SET state = 'dead' WHERE id = ?1 AND state = 'live' AND beat = ?2
