-- The time of a notice is the server's, whatever it is told.
SELECT cloacina.my_notice($3::uuid[]) WHERE $1::uuid IS NOT NULL AND num_nulls($2::timestamptz) >= 0
