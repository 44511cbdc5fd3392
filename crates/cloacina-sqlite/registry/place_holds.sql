INSERT OR REPLACE INTO place_holds (id, states, failed_at, waits) VALUES (?1, ?2, ?3, ?4)
