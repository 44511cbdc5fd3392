SELECT cloacina.my_workflow_describe($1::text[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz)
