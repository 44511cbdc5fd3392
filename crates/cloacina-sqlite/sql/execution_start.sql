-- A larger input is read, and looked at, by itself.
UPDATE workflow_executions SET state = 'running', started_at = ?3
WHERE tenant_id = ?1 AND id = ?2 AND state = 'pending'
RETURNING iif(octet_length(input) <= 1048576, input, NULL), created_at, deadline IS NOT NULL
