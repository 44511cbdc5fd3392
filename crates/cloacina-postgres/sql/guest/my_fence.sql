-- With a tenant's own login.
SELECT coalesce($2::timestamptz, clock_timestamp()) AS now, cloacina.my_fence($1::uuid)
