-- What is known of files that nobody has open.
SELECT id, states, failed_at, waits, completed, failed, cancelled FROM place_contents
WHERE NOT EXISTS (SELECT 1 FROM holder WHERE holder.place = place_contents.id AND holder.is_open = 1)
