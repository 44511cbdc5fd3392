-- The oldest end first. Children go with the execution that all of them come from. What took the place of one
-- that has children, or emitted anything, may read what it finds there: it goes first.
SELECT id FROM workflow_executions AS old
WHERE tenant_id = ?1 AND state = ?4 AND finished_at < ?2 AND parent_id IS NULL
  AND (superseded_by IS NULL
       OR NOT (EXISTS (SELECT 1 FROM task_children WHERE tenant_id = ?1 AND execution_id = old.id)
               OR EXISTS (SELECT 1 FROM task_pages WHERE tenant_id = ?1 AND execution_id = old.id))
       OR NOT EXISTS (SELECT 1 FROM workflow_executions AS new WHERE new.tenant_id = ?1 AND new.id = old.superseded_by))
ORDER BY finished_at LIMIT ?3
