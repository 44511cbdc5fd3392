INSERT INTO place (id, tenant) VALUES (?1, ?2)
