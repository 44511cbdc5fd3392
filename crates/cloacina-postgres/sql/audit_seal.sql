UPDATE cloacina.audit SET position = new.position, seal = new.seal
FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS new (id, position, seal)
WHERE audit.id = new.id AND audit.position IS NULL
