INSERT OR REPLACE INTO holder (number, place, is_open, host, pid, process_started) VALUES (?1, ?2, 1, ?3, ?4, ?5)
