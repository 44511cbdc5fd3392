-- The time at which somebody else's transaction comes to its end. It may have begun long before, and `now()`
-- says when.
SELECT coalesce($1::timestamptz, clock_timestamp()) AS now
