-- On names and errors see `execution_headers`; `execution_bytes` said how long the input is.
SELECT id, iif(octet_length(workflow) <= 4000, workflow, 'a name of ' || octet_length(workflow) || ' bytes'), fingerprint, state, priority,
       created_at, started_at, finished_at, deadline,
       iif(octet_length(error) <= 262144, error, 'an error of ' || octet_length(error) || ' bytes, which is not read'),
       rerun_of, superseded_by, has_waits, tags, iif(length(submitted_by) <= 200, submitted_by, NULL), input
FROM workflow_executions WHERE tenant_id = ?1 AND id = ?2
