-- The logins of other tenants that have granted something in this database to these roles, by the OIDs of
-- these.
SELECT DISTINCT login.role_name
FROM pg_shdepend
JOIN cloacina.login ON login.role_oid = CASE classid
    WHEN 'pg_largeobject'::regclass THEN (SELECT lomowner FROM pg_largeobject_metadata WHERE oid = objid)
    WHEN 'pg_default_acl'::regclass THEN (SELECT defaclrole FROM pg_default_acl WHERE oid = objid) END
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND refclassid = 'pg_authid'::regclass AND refobjid = ANY ($1::oid[]) AND deptype = 'a' AND login.role_oid <> ALL ($1)
