UPDATE cloacina_runner SET beat = beat + 1, beat_at = ?2, workflows = ?3 WHERE id = ?1 AND state = 'live'
