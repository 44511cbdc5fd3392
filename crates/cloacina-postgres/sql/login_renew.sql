-- A login that is given out again, and the one it takes the place of.
UPDATE cloacina.login SET
    ends_at = CASE WHEN role_name <> $2::text THEN least(ends_at, now() + $3::bigint * interval '1 millisecond') END,
    created_at = CASE WHEN role_name = $2 THEN now() ELSE created_at END
WHERE tenant_id = $1::uuid
