-- The newest with a tag; of some states, which are a JSON array, of one workflow, or of any (null) but one,
-- and superseded, not superseded, or either (null). It walks the rows of the tag.
SELECT execution.id
FROM execution_tags AS tagged
CROSS JOIN workflow_executions AS execution ON execution.tenant_id = tagged.tenant_id AND execution.id = tagged.execution_id
WHERE tagged.tenant_id = ?1 AND tagged.tag = ?2 AND tagged.execution_id < ?3
  AND execution.state IN (SELECT value FROM json_each(?4))
  AND (?5 IS NULL OR execution.workflow = ?5) AND execution.workflow IS NOT ?8
  AND (?6 IS NULL OR (execution.superseded_by IS NOT NULL) = ?6)
ORDER BY tagged.execution_id DESC LIMIT ?7
