-- A login of a tenant has one place.
SELECT tenant_id, schema_name AS name, schema_name, epoch, false AS shared, true AS has_login FROM cloacina.me() WHERE $1::uuid IS NOT NULL
