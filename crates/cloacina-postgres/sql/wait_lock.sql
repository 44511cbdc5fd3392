-- Locks executions that are not over, in the order of ids. What somebody else has is left for the next try.
SELECT wanted.id
FROM (SELECT DISTINCT id FROM unnest($2::uuid[]) AS named (id) ORDER BY id) AS wanted
CROSS JOIN LATERAL (
    SELECT FROM workflow_executions
    WHERE tenant_id = $1::uuid AND id = wanted.id AND finished_at IS NULL
    OFFSET 0
    FOR NO KEY UPDATE SKIP LOCKED
) AS execution
