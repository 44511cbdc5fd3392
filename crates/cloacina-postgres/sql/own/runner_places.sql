-- A login of a tenant has one place.
SELECT tenant_id, schema_name AS name, false AS shared FROM cloacina.me() WHERE $1::uuid IS NOT NULL
