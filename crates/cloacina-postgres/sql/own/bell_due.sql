SELECT tenant_id, execution_id FROM cloacina.my_bells($1::timestamptz)
