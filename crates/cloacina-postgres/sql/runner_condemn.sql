SELECT cloacina.condemn($1::uuid, $2::bigint) AS state
