INSERT OR REPLACE INTO place_contents (id, states, failed_at, waits, completed, failed, cancelled)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
