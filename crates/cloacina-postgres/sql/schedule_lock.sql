-- Locks schedules in the order of their ids: all, those of these names, or those of an origin as well.
SELECT id
FROM schedules
WHERE tenant_id = $1::uuid AND ($2::boolean OR name = ANY ($3::text[]) OR origin = $4::text)
ORDER BY id
FOR NO KEY UPDATE
