SELECT cloacina.my_runner_place_delete($1::uuid) WHERE $2::uuid IS NOT NULL
