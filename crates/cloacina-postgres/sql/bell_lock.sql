-- Lowering a bell, first statement: nobody may be ringing it. Who is, has rows that cannot be seen yet; then
-- it is not lowered.
SELECT tenant_id FROM cloacina.doorbell WHERE tenant_id = $1::uuid FOR UPDATE SKIP LOCKED
