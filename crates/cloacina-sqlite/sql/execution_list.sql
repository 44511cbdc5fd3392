-- ?3 is the states wanted with a comma around each, or null for any.
SELECT id, iif(octet_length(workflow) <= 4000, workflow, 'a name of ' || octet_length(workflow) || ' bytes'), fingerprint, state, priority,
       created_at, started_at, finished_at, deadline,
       iif(octet_length(error) <= 262144, error, 'an error of ' || octet_length(error) || ' bytes, which is not read')
FROM workflow_executions
WHERE tenant_id = ?1 AND id < ?2
    AND (?3 IS NULL OR instr(?3, ',' || state || ',') > 0)
    AND (?4 IS NULL OR workflow = ?4)
ORDER BY id DESC LIMIT ?5
