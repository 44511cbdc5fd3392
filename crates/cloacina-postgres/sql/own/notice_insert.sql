SELECT cloacina.my_notice($3::uuid[], $2::timestamptz) WHERE $1::uuid IS NOT NULL
