SELECT cloacina.my_bell_lower($2::timestamptz) WHERE $1::uuid IS NOT NULL
