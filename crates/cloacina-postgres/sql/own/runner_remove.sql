SELECT cloacina.my_runner_remove($1::uuid)
