SELECT CASE WHEN octet_length(description) <= $4::bigint THEN description END AS description
FROM cloacina.my_workflow_description($2::text, $3::bigint) AS description WHERE $1::uuid IS NOT NULL
