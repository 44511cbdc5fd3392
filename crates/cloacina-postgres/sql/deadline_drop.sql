-- Drops deadlines that were due. Those of executions that are over, or not there, are otherwise in the way of the others.
DELETE FROM ready_tasks AS ready
USING unnest($3::uuid[]) AS due (id)
WHERE ready.tenant_id = $1::uuid AND ready.priority = -1 AND ready.due_at <= coalesce($2::timestamptz, now())
  AND ready.execution_id = due.id
