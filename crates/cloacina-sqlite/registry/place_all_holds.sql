-- What is known of files that nobody has open.
SELECT id, states, failed_at, waits FROM place_holds
WHERE NOT EXISTS (SELECT 1 FROM holder WHERE holder.place = place_holds.id AND holder.is_open = 1)
