SELECT state FROM cloacina.my_runner_state($1::uuid, NULL) AS state
