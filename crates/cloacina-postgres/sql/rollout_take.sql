-- Takes the templates that not all tenants have, unless another process is at it. Without one that was taken
-- the row says whether there are any.
WITH clock AS (SELECT coalesce($1::timestamptz, now()) AS now),
taken AS (
    UPDATE cloacina.schedule_template AS template SET taken_till = clock.now + interval '1 minute'
    FROM clock
    WHERE template.rolled_out IS NOT NULL AND template.taken_till <= clock.now
    RETURNING template.origin, template.version, template.rolled_out
)
SELECT origin, version, rolled_out FROM taken
UNION ALL
SELECT NULL, NULL, min(rolled_out) FROM cloacina.schedule_template HAVING NOT EXISTS (SELECT FROM taken)
