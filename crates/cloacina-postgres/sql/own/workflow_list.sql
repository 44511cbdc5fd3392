SELECT name, fingerprint, version, first_seen FROM cloacina.my_workflows($2::bigint) WHERE $1::uuid IS NOT NULL
