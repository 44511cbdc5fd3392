-- Without those of a workflow, if one is named: there are few. On names and errors see `execution_headers`.
SELECT id, iif(octet_length(workflow) <= 4000, workflow, 'a name of ' || octet_length(workflow) || ' bytes'), fingerprint, state, priority,
       created_at, started_at, finished_at, deadline,
       iif(octet_length(error) <= 262144, error, 'an error of ' || octet_length(error) || ' bytes, which is not read'),
       rerun_of, superseded_by, has_waits, tags, iif(length(submitted_by) <= 200, submitted_by, NULL)
FROM workflow_executions
WHERE tenant_id = ?1 AND id < ?2 AND parent_id IS NULL AND workflow IS NOT ?4
ORDER BY id DESC LIMIT ?3
