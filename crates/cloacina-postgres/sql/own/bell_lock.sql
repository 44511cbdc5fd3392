SELECT tenant_id FROM cloacina.my_bell_lock() AS tenant_id WHERE tenant_id = $1::uuid
