UPDATE cloacina.tenant SET schema_version = $2::integer, min_reader = $3::integer WHERE tenant_id = $1::uuid
