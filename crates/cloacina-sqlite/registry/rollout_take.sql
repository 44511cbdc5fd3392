UPDATE schedule_template SET taken_till = ?2 WHERE rolled_out IS NOT NULL AND taken_till <= ?1
RETURNING origin, version, rolled_out
