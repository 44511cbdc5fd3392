SELECT cloacina.my_runner_condemn($1::uuid, $2::bigint, NULL) AS state
