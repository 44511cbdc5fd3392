-- Lowering a bell, last statement, under the lock of the first: `$2` is what a statement between them found
-- to be the earliest.
UPDATE cloacina.doorbell SET due_at = $2::timestamptz WHERE tenant_id = $1::uuid AND due_at IS DISTINCT FROM $2
