-- The same, and the runner must be live.
SELECT coalesce($2::timestamptz, clock_timestamp()) AS now, cloacina.fence($1::uuid)
