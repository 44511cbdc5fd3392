-- Which of these tenants have waits, or such that ask.
SELECT asked.tenant_id FROM unnest($1::uuid[]) AS asked (tenant_id)
WHERE EXISTS (
    SELECT FROM task_waits AS held WHERE held.tenant_id = asked.tenant_id AND (NOT $2::boolean OR held.ask IS NOT NULL)
)
