-- Which of these tenants have executions in one of some states: one seek for each tenant and state.
SELECT asked.tenant_id FROM unnest($1::uuid[]) AS asked (tenant_id)
WHERE EXISTS (
    SELECT FROM unnest($2::text[]) AS wanted (state)
    CROSS JOIN LATERAL (
        SELECT FROM workflow_executions AS held
        WHERE held.tenant_id = asked.tenant_id AND held.state = wanted.state AND held.priority >= 0
        LIMIT 1
    ) AS held
)
