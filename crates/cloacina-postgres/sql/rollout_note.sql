-- Notes how far templates have come that were not changed meanwhile.
UPDATE cloacina.schedule_template AS template SET
    rolled_out = $3::text,
    taken_till = CASE WHEN $3 IS NULL THEN '-infinity' ELSE coalesce($4::timestamptz, now()) + interval '1 minute' END
FROM unnest($1::text[], $2::bigint[]) AS given (origin, version)
WHERE template.origin = given.origin AND template.version = given.version
