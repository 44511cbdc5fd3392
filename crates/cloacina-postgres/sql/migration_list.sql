SELECT scope, number, checksum, min_reader FROM cloacina.migration ORDER BY scope, number
