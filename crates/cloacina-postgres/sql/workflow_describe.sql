-- What is known stays as it is.
INSERT INTO cloacina.workflow (tenant_id, name, fingerprint, version, description, first_seen)
SELECT '00000000-0000-0000-0000-000000000000', name, fingerprint, version, description, coalesce($5::timestamptz, now())
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[]) AS new (name, fingerprint, version, description)
ON CONFLICT DO NOTHING
