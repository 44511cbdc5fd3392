-- What the statistics say of these tenants' tables, without a look into one of them. The size of a table that
-- somebody has locked is waited for. Activity is what changed since the last sweep.
WITH measured AS (
    SELECT tenant.tenant_id, sum(pg_total_relation_size(class.oid)) AS size_bytes,
           sum(coalesce(pg_stat_get_tuples_inserted(class.oid) + pg_stat_get_tuples_updated(class.oid)
               + pg_stat_get_tuples_deleted(class.oid), 0)) AS activity
    FROM cloacina.tenant AS tenant
    JOIN pg_namespace AS space ON space.nspname = tenant.schema_name
    JOIN pg_class AS class ON class.relnamespace = space.oid AND class.relkind IN ('r', 'm')
    WHERE tenant.tenant_id = ANY ($1::uuid[]) AND tenant.state <> 'removed'
    GROUP BY tenant.tenant_id
)
UPDATE cloacina.tenant AS tenant SET
    size_bytes = measured.size_bytes, measured_at = now(), activity = measured.activity,
    last_activity_at = CASE WHEN tenant.activity IS DISTINCT FROM measured.activity AND measured.activity > 0
        THEN now() ELSE tenant.last_activity_at END
FROM measured WHERE measured.tenant_id = tenant.tenant_id
RETURNING tenant.tenant_id
