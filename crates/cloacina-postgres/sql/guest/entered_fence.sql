-- With the application's login, for the tenant that was entered.
SELECT coalesce($2::timestamptz, clock_timestamp()) AS now, cloacina.entered_fence($1::uuid)
