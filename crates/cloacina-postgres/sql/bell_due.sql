-- What every process asks once a second: whose bell is due, and what was cancelled, paused or resumed lately.
SELECT tenant_id, NULL::uuid AS execution_id FROM cloacina.doorbell WHERE due_at <= coalesce($1::timestamptz, now())
UNION ALL
SELECT tenant_id, execution_id FROM cloacina.notice
WHERE created_at > coalesce($1, now()) - interval '10 seconds'
