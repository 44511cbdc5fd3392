SELECT oid FROM pg_roles WHERE rolname = ANY ($1::text[])
