SELECT state FROM cloacina.runner WHERE id = $1::uuid
