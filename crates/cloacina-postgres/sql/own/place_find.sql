-- The place of the login, whatever was asked for.
SELECT tenant_id, schema_name AS name, schema_name, epoch, state, schema_version, min_reader, NULL::timestamptz AS removed_at, true AS has_login, control_version, false AS elsewhere
FROM cloacina.me() WHERE $1::text IS NOT NULL
