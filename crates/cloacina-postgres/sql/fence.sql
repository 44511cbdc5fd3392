-- Step 1 of a flush: the runner must be live. Also tells the time of the transaction.
SELECT coalesce($2::timestamptz, now()) AS now, cloacina.fence($1::uuid)
