SELECT cloacina.my_audit($3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::timestamptz)
WHERE $1::uuid IS NOT NULL AND ($2::text IS NULL OR true)
