SELECT at, actor, action, schema_name, detail FROM cloacina.audit WHERE id < $1::bigint ORDER BY id DESC LIMIT $2::bigint
