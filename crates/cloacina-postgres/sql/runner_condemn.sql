-- Under the lock of `runner_lock`, with a new snapshot: the heartbeat may have gone on while that waited.
UPDATE cloacina.runner SET state = 'dead' WHERE id = $1::uuid AND state = 'live' AND ($2::bigint IS NULL OR beat = $2)
