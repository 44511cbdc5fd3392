SELECT id, tenant FROM place WHERE id = ?1 OR tenant = ?2
