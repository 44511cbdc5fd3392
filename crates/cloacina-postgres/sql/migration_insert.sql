INSERT INTO cloacina.migration (scope, number, checksum, min_reader)
VALUES ($1::text, $2::integer, $3::bigint, $4::integer)
ON CONFLICT DO NOTHING
