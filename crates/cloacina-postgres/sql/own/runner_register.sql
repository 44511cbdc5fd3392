SELECT cloacina.my_runner_register($1::uuid, $2::bigint, $3::text, $4::integer, $5::bigint, $6::text[], $7::bigint[], $8::timestamptz, $9::text)
