SELECT coalesce($2::timestamptz, now()) AS now, cloacina.my_fence($1::uuid)
