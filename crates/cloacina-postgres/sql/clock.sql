-- Step 1 of a flush that nobody's claim stands behind: the time of the transaction.
SELECT coalesce($1::timestamptz, now()) AS now
