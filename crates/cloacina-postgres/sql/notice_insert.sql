-- Tells every process that executions were cancelled, paused or resumed. All read it, so it is bounded for
-- tenants that can plant executions, or deadlines, with a login of their own.
WITH clock AS (SELECT coalesce($2::timestamptz, now()) AS now)
INSERT INTO cloacina.notice (tenant_id, execution_id, created_at)
SELECT $1::uuid, execution, clock.now FROM unnest($3::uuid[]) AS execution, clock
LIMIT CASE WHEN EXISTS (SELECT FROM cloacina.login WHERE login.tenant_id = $1) THEN (
    SELECT 1000 - count(*) FROM (
        SELECT FROM cloacina.notice, clock WHERE notice.tenant_id = $1 AND notice.created_at > clock.now - interval '10 seconds' LIMIT 1000
    ) AS recent
) END
